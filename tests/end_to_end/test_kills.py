"""Kills at random moments lose nothing; `benchmarks/chaos.py kills real-kills` has 500 of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.disturbed import SPACE
from tests.end_to_end.forking_cli import ForkingCli
from tests.end_to_end.kills import KilledStudy
from tests.end_to_end.undisturbed import result_of

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


def test_paused_trials_are_continued_under_kills_as_undisturbed(tmp_path: Path) -> None:
    study = KilledStudy(tmp_path, STUDY, script='{"epoch_seconds": 0.03}')
    with ForkingCli(tmp_path, environment={"PAUSES": "1"}) as cli:
        expected = study.run_undisturbed(cli)
        chance = random.Random(2)  # noqa: S311 - not for cryptography
        tally = study.run_killed([cli], expected, chance, pause_seconds=1.5, most=12)

    assert {facts[1] for facts in expected.trials} == {"complete", "pruned"}
    assert tally.problems == []
    assert tally.kills > 0


def test_freeze_thaw_decides_under_kills_as_undisturbed(tmp_path: Path) -> None:
    plan = STUDY | {"search": {"engine": "freeze_thaw"}}
    study = KilledStudy(tmp_path, plan, script='{"epoch_seconds": 0.03}')
    chance = random.Random(3)  # noqa: S311 - not for cryptography
    with ForkingCli(tmp_path) as cli:
        measured = study.run_undisturbed(cli)
        # On the recorded clock, all step times are known from the beginning.
        study.run_killed([cli], measured, chance, pause_seconds=1.0, most=0)
        expected = result_of(tmp_path / "killed" / "runs" / "killed")
        tally = study.run_killed([cli], expected, chance, pause_seconds=2.0, most=12)

    assert {facts[1] for facts in expected.trials} == {"complete", "pruned"}
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
