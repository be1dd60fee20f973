"""What the page shows of a pinned trial."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.html.trial_details import trial_details

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_a_complete_trial_has_its_config_curves_times_and_export_command(
    study_maker: Callable[..., ReportInput],
) -> None:
    study = study_maker(20, validation=500)
    trial = next(trial for trial in study.trials if trial.state == "complete")

    shown = trial_details(analyse(study))[trial.number]

    assert [name for name, _ in shown["config"]] == [key.replace("_", " ") for key in trial.config]
    assert [name for name, _ in shown["curves"]] == [
        *("validation accuracy", "validation loss", "training loss", "learning rate")
    ]
    assert all(len(values) == len(trial.curve) for _, values in shown["curves"])
    assert {"validation accuracy", "training time", "expected"} <= dict(shown["facts"]).keys()
    assert {"wall", "training"} <= dict(shown["times"]).keys()
    assert shown["command"] == (
        f"effv2-tune export runs/made-up-cifar10 --pick trial={trial.number} -o train.yaml"
    )


def test_only_complete_trials_of_the_search_have_a_command(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    first = trial_maker(0, state="complete")
    again = first.model_copy(update={"number": 1, "replicate_of": 0})
    pruned = trial_maker(2, state="pruned")

    shown = trial_details(analyse(study_maker(trials=(first, again, pruned))))

    assert [bool(shown[number]["command"]) for number in range(3)] == [True, False, False]
    assert dict(shown[2]["facts"])["reason"] == pruned.reason


def test_a_loss_that_became_nan_is_null_in_json(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trial = trial_maker(0, state="diverged")
    last = trial.curve[-1].model_copy(update={"train_loss": math.nan})
    broken = trial.model_copy(update={"curve": (*trial.curve[:-1], last)})

    shown = trial_details(analyse(study_maker(trials=(broken,))))

    assert dict(shown[0]["curves"])["training loss"][-1] is None
    json.dumps(shown, allow_nan=False)
