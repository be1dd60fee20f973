"""The command ``export``: what it refuses, and what there is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., object]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pick", "kne"), "'kne' is unknown, did you mean 'knee'?"),
        (("--pick", "trial=99"), "Trial 99 does not exist"),
        (("--pick", "trial=-1"), "Trial -1 does not exist"),
        (("--pick", "trial=1", "--max-seconds", "9"), "cannot be combined with limits"),
        (("--pick", "trial=1", "--robust"), "cannot be combined with limits"),
        (("--max-seconds", "0.001"), "The fastest takes 0.9 s"),
        (("--min-quality", "0.999"), "the best has an expected accuracy of 0.50"),
        (("--device", "scriptd"), "did you mean 'scripted'?"),
        (("--name", "other"), "holds no study 'other'"),
        (("-o", "study.yaml"), "study.yaml exists already"),
        (("-o", "none/train.yaml"), "none/train.yaml cannot be written"),
    ],
)
def test_export_says_what_there_is_instead(
    tune: Tune, study: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    written = Path("study.yaml").read_text()

    done = tune("export", str(study), *arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err
    assert not Path("train.yaml").exists()
    assert Path("study.yaml").read_text() == written


def test_export_says_how_certain_the_pick_is_and_what_its_value_is_corrected_by(
    tune: Tune, study: Path
) -> None:
    done = tune("export", str(study), "--pick", "most-accurate")

    assert done.code == 0
    assert done.out == "train.yaml\n"
    picked, certainty, correction, command = done.err.splitlines()
    assert picked.startswith("most-accurate: trial ")
    assert "90 % interval" in picked
    assert "probability" in certainty
    assert correction.startswith("The best of 4 measured values is on average too high")
    assert command == "Next: effv2-tune train train.yaml"


def test_the_same_as_json_is_the_only_output(tune: Tune, study: Path) -> None:
    done = tune("export", str(study), "--pick", "trial=1", "--json")

    found = json.loads(done.out)

    assert (found["file"], found["trial"], found["pick"]) == ("train.yaml", 1, "trial=1")
    assert found["low"] < found["estimate"] < found["high"]
    assert found["probability"] is None


def test_a_study_without_a_complete_trial_cannot_be_exported_and_fails(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = '{"0": {"outcome": "diverged"}, "1": {"outcome": "infeasible"}}'
    monkeypatch.setenv("SCRIPT", failed)

    ran = tune("run", "study.yaml", "--trials", "2")
    exported = tune("export", "runs/small")

    assert ran.code == EXIT_FAILED
    assert "Next:" not in ran.err
    assert exported.code == EXIT_WRONG_INPUT
    assert "has no complete trial yet" in exported.err
    assert "no trial is complete yet" in tune("status", "runs/small").out
    assert tune("trials", "runs/small").code == 0
