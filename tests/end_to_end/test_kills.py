"""Kills at random moments lose nothing; `benchmarks/chaos.py kills real-kills` has 500 of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.disturbed import SPACE
from tests.end_to_end.forking_cli import ForkingCli
from tests.end_to_end.kills import KilledStudy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STUDY = {
    "name": "killed",
    "recipe": {"epochs": 6, "schedule": "constant"},
    "search_space": SPACE,
    "trials": 16,
    "keep": "all",
}


def test_a_study_ends_as_undisturbed_after_kills_of_supervisors_and_workers(tmp_path: Path) -> None:
    study = KilledStudy(tmp_path, STUDY, script='{"epoch_seconds": 0.03}')
    with ForkingCli(tmp_path) as cli:
        expected = study.run_undisturbed(cli)
        chance = random.Random(0)  # noqa: S311 - not for cryptography
        tally = study.run_killed([cli], expected, chance, pause_seconds=1.5, most=12)

    assert tally.problems == []
    assert tally.kills > 0


def test_a_confirmation_under_kills_decides_as_an_undisturbed_one(tmp_path: Path) -> None:
    command = ("confirm", "killed", "--trials", "10", "--difference", "0")
    script = '{"epoch_seconds": 0.03, "seed_noise": 0.01}'
    study = KilledStudy(tmp_path, STUDY | {"trials": 6}, script=script, confirm=command)
    with ForkingCli(tmp_path) as cli:
        expected = study.run_undisturbed(cli)
        chance = random.Random(1)  # noqa: S311 - not for cryptography
        tally = study.run_killed([cli], expected, chance, pause_seconds=1.0, most=5)

    assert tally.problems == []
    assert tally.kills > 0
