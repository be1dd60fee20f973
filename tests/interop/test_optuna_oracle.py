"""The Optuna oracle under Keras Tuner's own loop: what it draws, tells, ranks and survives."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import keras_tuner
import optuna
import pytest
from keras_tuner.errors import FailedTrialError
from optuna.trial import TrialState

from effv2_tune.errors import TuneError
from effv2_tune.interop import OptunaOracle, config_of, to_hyperparameters
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TWO = [keras_tuner.Objective("quality", "max"), keras_tuner.Objective("seconds", "min")]
SPACE = Space.model_validate(
    {
        "initial_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "scale": "log"},
        "optimizer": {"type": "choice", "values": ["adabelief", "sgd"]},
        "rectify": {"type": "choice", "values": [True, False], "when": {"optimizer": "adabelief"}},
        "sma_threshold": {"type": "float", "low": 4, "high": 9, "when": {"rectify": True}},
        "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
        "clip_norm": {"type": "choice", "values": [None, 1.0, 5]},
        "resolution": {"type": "choice", "values": ["native", 64]},
        "epochs": {"type": "int", "low": 10, "high": 50, "step": 20},
        "batch_size": {"type": "int", "low": 8, "high": 512, "scale": "log", "when": {"ema": True}},
        "ema": {"type": "fixed", "value": True},
        "weights": {"type": "fixed", "value": None},
    }
)


class Tuner(keras_tuner.Tuner):  # type: ignore[misc]
    """A tuner that computes instead of training."""

    def __init__(self, oracle: OptunaOracle, folder: Path, run: Callable[[Any], Any]) -> None:
        self.run = run
        super().__init__(oracle, directory=str(folder), project_name="computed")
        self.oracle.verbose = 0

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> Any:
        return self.run(trial)


def measure(trial: Any) -> dict[str, float]:
    """The larger the width, the better and the slower."""
    hp = trial.hyperparameters
    width = hp.Float("width", 1.0, 8.0)
    kind = hp.Choice("kind", ["plain", "wide"])
    with hp.conditional_scope("kind", ["wide"]):
        factor = hp.Int("factor", 2, 8, step=2) if kind == "wide" else 1
    quality = width * factor / (1 + width * factor)
    return {"quality": quality, "seconds": width * factor**1.5, "multi_objective": 0.0}


def oracle(**changes: Any) -> OptunaOracle:
    return OptunaOracle(**({"objective": TWO, "max_trials": 12, "seed": 7} | changes))


def values_of(tuner: Tuner) -> list[dict[str, Any]]:
    return [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]


def test_each_trial_is_in_the_optuna_study_with_its_vector(tmp_path: Path) -> None:
    tuner = Tuner(oracle(), tmp_path, measure)
    tuner.search()

    told = tuner.oracle.study.trials
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 12
    for trial, kept in zip(told, tuner.oracle.trials.values(), strict=True):
        measured = [kept.metrics.get_last_value(name) for name in ("quality", "seconds")]
        assert trial.values == pytest.approx(measured)
        assert trial.params["width"] == kept.hyperparameters.values["width"]
        is_wide = kept.hyperparameters.values["kind"] == "wide"
        assert ("factor [kind=wide]" in trial.params) == is_wide
        assert ("factor" in kept.hyperparameters.values) == is_wide


def test_the_folder_of_a_project_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "q?mode=ro" / "50%41{x}"
    for trials in (3, 5):
        tuner = Tuner(oracle(max_trials=trials), folder, measure)
        tuner.search()
        assert len(tuner.oracle.study.trials) == trials

    assert (folder / "computed" / "optuna.db").is_file()


def test_the_best_trials_are_the_pareto_set(tmp_path: Path) -> None:
    tuner = Tuner(oracle(max_trials=25), tmp_path, measure)
    tuner.search()

    best = tuner.oracle.get_best_trials()
    front = {trial.number for trial in tuner.oracle.study.best_trials}
    assert {int(trial.trial_id) for trial in best} == front
    assert 1 < len(front) < 25
    assert all(trial.score == 0 for trial in best)
    assert len(tuner.oracle.get_best_trials(25)) == 25
    assert len(tuner.get_best_hyperparameters(2)) == 2


def test_one_objective_is_scored_by_its_value(tmp_path: Path) -> None:
    tuner = Tuner(oracle(objective=TWO[0]), tmp_path, measure)
    tuner.search()

    (best,) = tuner.oracle.get_best_trials()
    assert best.score == max(t.value for t in tuner.oracle.study.trials) == best.score
    assert tuner.oracle.study.direction.name == "MAXIMIZE"


@pytest.mark.parametrize(
    "sampler",
    [None, optuna.samplers.NSGAIISampler(seed=1), optuna.samplers.RandomSampler],
)
def test_any_sampler_draws_values_of_the_space(tmp_path: Path, sampler: Any) -> None:
    space = to_hyperparameters(SPACE)
    drawn = []

    def note(trial: Any) -> dict[str, float]:
        drawn.append(config_of(trial.hyperparameters, SPACE))
        return {"quality": 0.5, "seconds": len(drawn), "multi_objective": 0.0}

    Tuner(oracle(sampler=sampler, hyperparameters=space), tmp_path, note).search()

    assert len(drawn) == 12
    assert all(SPACE.contains(config) for config in drawn)


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    """An exception that Keras Tuner lets through ends the program in the middle of trial 3."""

    def killed(trial: Any) -> dict[str, float]:
        if trial.trial_id.endswith("3"):
            raise KeyboardInterrupt
        return measure(trial)

    first = Tuner(oracle(), tmp_path, killed)
    with pytest.raises(KeyboardInterrupt):
        first.search()
    interrupted = first.oracle.trials["03"].hyperparameters.values
    (tmp_path / "computed" / "oracle.json").write_text('{"ongoing_tri')

    second = Tuner(oracle(), tmp_path, measure)
    second.search()

    assert len(second.oracle.trials) == len(second.oracle.study.trials) == 12
    assert second.oracle.trials["03"].hyperparameters.values == interrupted
    assert {trial.status for trial in second.oracle.trials.values()} == {"COMPLETED"}


def test_a_kill_before_the_first_trial_ends_loses_nothing(tmp_path: Path) -> None:
    """Keras Tuner reloads nothing here: it has not written its own file yet."""

    def killed(_: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tuner(oracle(), tmp_path, killed).search()
    again = Tuner(oracle(max_trials=3), tmp_path, measure)
    again.search()

    assert [trial.number for trial in again.oracle.study.trials] == [0, 1, 2]


def test_interruptions_change_no_config(tmp_path: Path) -> None:
    whole = Tuner(oracle(hyperparameters=to_hyperparameters(SPACE)), tmp_path / "a", measure)
    whole.search()
    for limit in (4, 5, 12):
        parts = Tuner(
            oracle(hyperparameters=to_hyperparameters(SPACE), max_trials=limit),
            tmp_path / "b",
            measure,
        )
        parts.search()

    assert values_of(parts) == values_of(whole)


@pytest.mark.parametrize("moment", ["drawn", "told"])
def test_a_kill_between_two_writes_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed after the values were drawn and before they were recorded, and before telling."""
    first = Tuner(oracle(max_trials=3), tmp_path, measure)
    first.search()
    kept = first.oracle._opened()
    first.oracle.max_trials = 6
    name = "remember" if moment == "drawn" else "tell"
    with monkeypatch.context() as patch:
        patch.setattr(kept, name, _killed)
        with pytest.raises(KeyboardInterrupt):
            first.search()

    second = Tuner(oracle(max_trials=6), tmp_path, measure)
    second.search()

    states = [trial.state for trial in second.oracle.study.trials]
    assert states == [TrialState.COMPLETE] * 6
    assert sorted(map(int, second.oracle.trials)) == list(range(6))


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_failures_are_told_as_what_they_are(tmp_path: Path) -> None:
    def run(trial: Any) -> dict[str, float]:
        number = int(trial.trial_id)
        if number == 1:
            raise FailedTrialError("does not fit")
        if number == 2:
            raise RuntimeError("crashed")
        return measure(trial) | ({"seconds": float("inf")} if number == 3 else {})

    tuner = Tuner(oracle(max_trials=5), tmp_path, run)
    tuner.search()

    told = tuner.oracle.study.trials
    assert [trial.state.name for trial in told] == [
        "COMPLETE", "PRUNED", "FAIL", "PRUNED", "COMPLETE",
    ]  # fmt: skip
    assert told[1].constraints == {"fits": 1.0}
    assert not told[3].constraints
    reloaded = Tuner(oracle(max_trials=5), tmp_path, run)
    assert [t.status for t in reloaded.oracle.get_best_trials(9)] == ["COMPLETED"] * 2
    assert "crashed" in reloaded.oracle.trials["2"].message


def test_a_crashed_trial_is_run_again_where_asked(tmp_path: Path) -> None:
    attempts: list[str] = []

    def run(trial: Any) -> dict[str, float]:
        attempts.append(trial.trial_id)
        if attempts.count(trial.trial_id) == 1:
            raise RuntimeError("once")
        return measure(trial)

    tuner = Tuner(oracle(max_trials=3, max_retries_per_trial=1), tmp_path, run)
    tuner.search()

    assert attempts == ["0", "0", "1", "1", "2", "2"]
    assert len(tuner.oracle.study.trials) == 3
    assert all(trial.state == TrialState.COMPLETE for trial in tuner.oracle.study.trials)


def test_crashes_in_a_row_end_the_search_and_leave_the_lock_free(tmp_path: Path) -> None:
    def run(trial: Any) -> dict[str, float]:
        trial.hyperparameters.Float("width", 1.0, 8.0)
        raise RuntimeError("always")

    tuner = Tuner(oracle(), tmp_path, run)
    with pytest.raises(RuntimeError, match="3 trials in a row"):
        tuner.search()
    other = threading.Thread(target=lambda: tuner.oracle.create_trial("another"), name="another")
    other.start()
    other.join(20)

    assert not other.is_alive()
    assert len(tuner.oracle.trials) == 4


def test_a_small_space_is_searched_once_and_ends(tmp_path: Path) -> None:
    def run(trial: Any) -> dict[str, float]:
        size = trial.hyperparameters.Int("size", 1, 3)
        return {"quality": size, "seconds": 1.0, "multi_objective": 0.0}

    tuner = Tuner(oracle(sampler=optuna.samplers.RandomSampler), tmp_path, run)
    tuner.search()

    assert sorted(values["size"] for values in values_of(tuner)) == [1, 2, 3]
    duplicates = [
        trial
        for trial in tuner.oracle.study.trials
        if "keras_tuner:duplicate_of" in trial.user_attrs
    ]
    assert duplicates
    assert all(trial.state == TrialState.COMPLETE for trial in duplicates)


def test_what_is_enqueued_goes_first(tmp_path: Path) -> None:
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Float("width", 1.0, 8.0)
    tuner = Tuner(oracle(max_trials=2, hyperparameters=hyperparameters), tmp_path, measure)
    tuner.oracle.study.enqueue_trial({"width": 2.5})
    tuner.search()

    assert values_of(tuner)[0]["width"] == 2.5
    assert len(tuner.oracle.study.trials) == 2


def test_a_study_of_other_objectives_is_refused(tmp_path: Path) -> None:
    Tuner(oracle(max_trials=1), tmp_path, measure).search()

    with pytest.raises(TuneError, match="directions maximize, minimize"):
        Tuner(oracle(objective=TWO[0]), tmp_path, measure).search()
