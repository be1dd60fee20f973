"""Engines: what they ask for, how Optuna keeps it, and that a restart changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import SPACE as SIMULATED_SPACE

from effv2_tune.errors import TuneError
from effv2_tune.search.engines.base import Exhausted
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.space import Space
from effv2_tune.study.trial import Measurement, RungResult, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping

SPACE = Space.model_validate(
    {
        "kind": {"type": "choice", "values": ["a", "b"]},
        "rate": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log", "when": {"kind": "a"}},
        "steps": {"type": "int", "low": 10, "high": 50, "step": 20, "when": {"kind": "b"}},
        "clip": {"type": "choice", "values": [None, 1.0, {"per_device": 8}]},
        "flag": {"type": "choice", "values": [True, 1, "True"]},
        "initial_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "scale": "log"},
    }
)
SAMPLERS = ["tpe", "random", "nsga2", "qmc", "grid"]


def tell(storage: MemoryStorage, number: int, config: Mapping[str, Any]) -> None:
    """Tell every third trial as stopped at a rung, all others as complete."""
    quality = 0.5 + 0.1 * (config["kind"] == "a") + config["maximal_learning_rate"]
    seconds = 1.0 + number % 5
    rung = RungResult(rung=0, epoch=1, quality=0.8 * quality, projected_seconds=1.1 * seconds)
    stopped = number % 3 == 2
    storage.finish(
        Trial(
            number=number,
            state="pruned" if stopped else "complete",
            config=dict(config),
            measurement=None if stopped else Measurement(quality=quality, train_seconds=seconds),
            rungs=(rung,),
            ended=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        )
    )


def ask_many(
    storage: MemoryStorage, count: int, *, anew: bool, sampler: str
) -> list[dict[str, Any]]:
    """Ask and tell, with one engine for all trials or with a fresh one for each."""
    configs = []
    engine = OptunaEngine(storage, SPACE, sampler=sampler, seed=5)
    for _ in range(count):
        if anew:
            engine = OptunaEngine(storage, SPACE, sampler=sampler, seed=5)
        asked = engine.ask()
        configs.append(asked.config)
        tell(storage, asked.number, asked.config)
    return configs


def new_storage() -> MemoryStorage:
    return MemoryStorage("engines", ("maximize", "minimize"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_config_lies_in_the_space(sampler: str) -> None:
    configs = ask_many(new_storage(), 40, anew=False, sampler=sampler)

    assert all(SPACE.contains(config) for config in configs)
    assert len({str(config) for config in configs}) > 20


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_restart_before_every_trial_changes_no_config(sampler: str) -> None:
    once = ask_many(new_storage(), 70, anew=False, sampler=sampler)
    restarted = ask_many(new_storage(), 70, anew=True, sampler=sampler)

    assert once == restarted


def test_values_that_optuna_would_confuse_come_back_as_they_were() -> None:
    configs = ask_many(new_storage(), 60, anew=False, sampler="random")

    flags = {(type(config["flag"]), config["flag"]) for config in configs}
    assert flags == {(bool, True), (int, 1), (str, "True")}
    clips = [config["clip"] for config in configs]
    assert all(value in clips for value in (None, 1.0, {"per_device": 8}))


def test_optuna_knows_a_dimension_by_its_name() -> None:
    storage = new_storage()
    asked = OptunaEngine(storage, SPACE).ask()

    params = storage.optuna.get_trial(0).params
    assert set(params) == set(SPACE.encode(asked.config))
    assert params["clip"] in (None, 1.0, '{"per_device": 8}')


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_enqueued_config_comes_back_as_it_was_written(seed: int) -> None:
    config = OptunaEngine(new_storage(), SPACE, sampler="random", seed=seed).ask().config

    asked = OptunaEngine(new_storage(), SPACE, enqueue=[config]).ask().config

    assert asked.keys() == config.keys()
    assert SPACE.encode(asked).keys() == SPACE.encode(config).keys()
    for name, value in config.items():
        assert asked[name] == (pytest.approx(value) if isinstance(value, float) else value)


def test_a_grid_is_walked_through_once() -> None:
    space = Space.model_validate(
        {
            "kind": {"type": "choice", "values": ["a", "b"]},
            "steps": {"type": "int", "low": 1, "high": 3, "when": {"kind": "b"}},
        }
    )
    engine = OptunaEngine(new_storage(), space, sampler="grid")

    configs = [engine.ask().config for _ in range(4)]

    assert sorted(map(str, configs)) == sorted(
        str(config)
        for config in (
            {"kind": "a"},
            {"kind": "b", "steps": 1},
            {"kind": "b", "steps": 2},
            {"kind": "b", "steps": 3},
        )
    )
    with pytest.raises(Exhausted):
        engine.ask()


def test_a_grid_of_too_many_points_is_a_sentence() -> None:
    wide = {f"c{n}": {"type": "choice", "values": [0.5, 1.5, 2.5]} for n in range(30)}

    with pytest.raises(TuneError, match="more than 10,000 points"):
        OptunaEngine(new_storage(), Space.model_validate(wide), sampler="grid")


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_gp_without_pytorch_says_what_to_install() -> None:
    with pytest.raises(TuneError, match="needs PyTorch") as caught:
        OptunaEngine(new_storage(), SPACE, sampler="gp")

    assert "pip install torch" in str(caught.value.hint)


def test_configs_that_do_not_fit_are_asked_for_less_and_less() -> None:
    space = Space.model_validate(
        {
            "width": {"type": "float", "low": 0.0, "high": 1.0},
            "rate": {"type": "float", "low": 0.0, "high": 1.0},
        }
    )
    storage = new_storage()
    engine = OptunaEngine(storage, space, seed=1)
    too_wide = []
    for _ in range(80):
        asked = engine.ask()
        width = asked.config["width"]
        trial = Trial(number=asked.number, state="infeasible", config=asked.config)
        if width <= 0.5:
            measured = Measurement(quality=asked.config["rate"], train_seconds=10.0)
            trial = trial.model_copy(update={"state": "complete", "measurement": measured})
        storage.finish(trial)
        too_wide.append(width > 0.5)

    assert sum(too_wide[:10]) >= 3
    assert sum(too_wide[-40:]) <= 8


def test_enqueued_configs_come_first() -> None:
    first = {"rate": 0.01, "width": 3, "kind": {"per_device": 4}}
    second = {"rate": 0.02, "width": 64, "kind": True}
    storage = MemoryStorage("simulated", ("maximize", "minimize"))
    engine = OptunaEngine(storage, SIMULATED_SPACE, enqueue=[first, second])

    assert [engine.ask().config for _ in range(2)] == [first, second]


class RestatedStorage(MemoryStorage):
    """The step time of one kind's bucket can be restated."""

    factor = 1.0

    def trials(self) -> list[Trial]:
        return [self._restated(trial) for trial in super().trials()]

    def _restated(self, trial: Trial) -> Trial:
        if trial.config.get("kind") != "a" or trial.measurement is None:
            return trial
        seconds = self.factor * trial.measurement.train_seconds
        measurement = Measurement(quality=trial.measurement.quality, train_seconds=seconds)
        return trial.model_copy(update={"measurement": measurement})


def test_a_sampler_sees_the_restated_seconds_of_trials_that_ended_before() -> None:
    def configs(*, restated_at: int, anew: bool) -> list[dict[str, Any]]:
        storage = RestatedStorage("engines", ("maximize", "minimize"))
        engine = OptunaEngine(storage, SPACE, seed=5)
        found = []
        for number in range(40):
            if number == restated_at:
                storage.factor = 100.0
                engine = OptunaEngine(storage, SPACE, seed=5) if anew else engine
            asked = engine.ask()
            found.append(asked.config)
            tell(storage, asked.number, asked.config)
        return found

    restated = configs(restated_at=30, anew=False)

    assert restated == configs(restated_at=30, anew=True)
    assert restated != configs(restated_at=99, anew=False)
