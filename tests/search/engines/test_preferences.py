from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.engines.preferences import peaks_of, preferred_config
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.simulation import run_simulation
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import SearchSpec, StudyPlan
from effv2_tune.study.space import Space

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"}
OPTIMIZERS = {"type": "choice", "values": ["sgd", "adamw", "rmsprop"]}


def space(**priors: Any) -> Space:
    written = {"rate": dict(RATE), "layers": {"type": "int", "low": 1, "high": 4}}
    written["optimizer"] = dict(OPTIMIZERS)
    for name, prior in priors.items():
        written[name]["prior"] = prior
    return Space.model_validate(written)


def test_the_peak_is_at_the_value_on_the_scale_of_the_parameter() -> None:
    one = space(rate={"value": 1e-3}, layers={"value": 4, "confidence": "high"})
    cube = UnitCube(one)

    rate, layers = peaks_of(one, cube)

    assert (rate.coordinate, rate.center) == (0, pytest.approx(0.5))
    assert (layers.coordinate, layers.center) == (1, pytest.approx(0.875))
    assert layers.width < rate.width
    assert layers.height > rate.height


def test_a_choice_has_its_peak_on_the_coordinate_of_the_value() -> None:
    one = space(optimizer={"value": "adamw"})
    cube = UnitCube(one)
    configs = [{"rate": 1e-3, "layers": 2, "optimizer": name} for name in OPTIMIZERS["values"]]

    (peak,) = peaks_of(one, cube)

    at = peak.at(np.array([cube.point(config) for config in configs]))
    assert at == pytest.approx([0, 1, 0], abs=0.01)


def test_preferred_configs_are_in_the_space_and_mostly_near_the_value() -> None:
    one = space(rate={"value": 1e-3, "confidence": "high"}, optimizer={"value": "adamw"})

    drawn = [preferred_config(one, 0, place) for place in range(60)]

    assert all(one.contains(config) for config in drawn)
    assert np.std([np.log10(config["rate"]) for config in drawn]) < 0.3
    assert sum(config["optimizer"] == "adamw" for config in drawn) > 30


@pytest.mark.parametrize("engine", ["tpe", "freeze_thaw"])
def test_the_first_configs_are_near_the_value(engine: str) -> None:
    one = space(rate={"value": 1e-3, "confidence": "high"})
    plan = StudyPlan(
        name="priors", search_space=one, trials=10, search=SearchSpec(engine=engine, seed=1)
    )

    trials = run_simulation(plan, lambda _: [(1, 0.5, 10.0), (2, 0.6, 20.0)])

    distances = [abs(np.log10(trial.config["rate"] / 1e-3)) for trial in trials[:6]]
    assert np.mean(distances[::2]) < 0.4
    assert max(distances[1::2]) > 0.5


def test_the_same_space_without_priors_has_the_same_configs_as_before() -> None:
    with_prior, without = space(rate={"value": 1e-3}), space()

    def second(one: Space) -> Any:
        plan = StudyPlan(name="priors", search_space=one, trials=2)
        return run_simulation(plan, lambda _: [(1, 0.5, 10.0)])[1].config

    assert second(with_prior) == second(without)


def test_an_engine_that_knows_no_priors_refuses_them() -> None:
    storage = MemoryStorage("priors", ("maximize", "minimize"))

    with pytest.raises(TuneError, match="'random' knows no priors, and rate have one") as caught:
        OptunaEngine(storage, space(rate={"value": 1e-3}), sampler="random", time_scale=log_seconds)

    assert "tpe" in (caught.value.hint or "")
