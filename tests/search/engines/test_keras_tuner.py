"""Keras Tuner's oracles as engines: what they are told, how they draw, how they end."""

from __future__ import annotations

import json
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.errors import TuneError
from effv2_tune.interop.oracle_process import OracleSampler, TrialReport, responses
from effv2_tune.interop.scalarisation import SUM_SHARE, scalar_losses
from effv2_tune.search.engines.base import Exhausted
from effv2_tune.search.engines.keras_tuner import KerasTunerEngine, oracle_environment
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.space import Space
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = Space.model_validate(
    {
        "initial_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "scale": "log"},
        "optimizer": {"type": "choice", "values": ["adabelief", "sgd"]},
        "momentum": {"type": "float", "low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}},
        "epochs": {"type": "int", "low": 1, "high": 40, "scale": "log"},
        "clip_norm": {"type": "choice", "values": [None, 1.0]},
    }
)
SMALL = Space.model_validate(
    {
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "scale": "log"},
        "epochs": {"type": "int", "low": 1, "high": 40, "scale": "log"},
    }
)


def new_storage() -> MemoryStorage:
    return MemoryStorage("oracle", ("maximize", "minimize"))


def outcome(config: dict[str, Any]) -> Measurement:
    distance = abs(math.log10(config["maximal_learning_rate"]) + 2)
    quality = config["epochs"] / (config["epochs"] + 4) - 0.1 * distance
    return Measurement(quality=quality, train_seconds=2.0 * config["epochs"])


def ask_and_tell(engine: KerasTunerEngine, storage: MemoryStorage) -> dict[str, Any]:
    asked = engine.ask()
    trial = Trial(
        number=asked.number,
        state="pruned" if asked.number % 5 == 4 else "complete",
        config=asked.config,
        measurement=outcome(asked.config),
    )
    storage.finish(trial)
    return asked.config


def run_twice(
    space: Space, oracle: Any, lengths: list[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The configs of one run, and those of several that go on with one another."""
    whole, parts = new_storage(), new_storage()
    with KerasTunerEngine(whole, space, oracle=oracle, seed=3) as engine:
        once = [ask_and_tell(engine, whole) for _ in range(sum(lengths))]
    restarted = []
    for length in lengths:
        with KerasTunerEngine(parts, space, oracle=oracle, seed=3) as engine:
            restarted += [ask_and_tell(engine, parts) for _ in range(length)]
    return once, restarted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("oracle", "space", "lengths"),
    # The Gaussian process begins with the seventh trial: three complete ones for each axis.
    [
        ("random", SPACE, [6, 3]),
        pytest.param("bayesian", SMALL, [7, 2], marks=pytest.mark.long),
    ],
)
def test_a_restart_changes_no_config(oracle: str, space: Space, lengths: list[int]) -> None:
    once, restarted = run_twice(space, oracle, lengths)

    assert once == restarted
    assert all(space.contains(config) for config in once)
    assert len({json.dumps(config) for config in once}) == sum(lengths)


def test_the_supervisor_loads_no_keras_tuner(run_python: Callable[..., str]) -> None:
    code = (
        "import sys\n"
        "import effv2_tune.search.supervisor, effv2_tune.search.engines.keras_tuner\n"
        "print([m for m in ('keras_tuner', 'keras', 'tensorflow', 'jax') if m in sys.modules])"
    )

    assert run_python(code).strip() == "[]"


def test_the_oracle_sees_no_device() -> None:
    environment = oracle_environment()

    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["JAX_PLATFORMS"] == "cpu"


def test_enqueued_configs_come_first_and_start_no_process() -> None:
    config = {
        "initial_learning_rate": 1e-3,
        "maximal_learning_rate": 1e-2,
        "optimizer": "sgd",
        "momentum": 0.9,
        "epochs": 7,
        "clip_norm": None,
    }
    storage = new_storage()
    with KerasTunerEngine(
        storage, SPACE, oracle="random", enqueue=[config], command=("false",)
    ) as engine:
        asked = engine.ask()

        assert engine.resume(0) == asked.config
    assert asked.config == pytest.approx(config)


def test_an_oracle_that_dies_is_an_error_with_its_last_words() -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such oracle')")
    with (
        KerasTunerEngine(new_storage(), SPACE, oracle="random", command=command) as engine,
        pytest.raises(TuneError, match="random oracle has exited") as raised,
    ):
        engine.ask()

    assert "no such oracle" in (raised.value.hint or "")


def test_a_space_of_two_configs_is_exhausted() -> None:
    space = Space.model_validate({"optimizer": {"type": "choice", "values": ["sgd", "adamw"]}})
    drawer = OracleSampler(oracle="random", space=space, seed=1, minimize=False)
    for number in range(2):
        config = drawer.draw(number)
        assert config is not None
        drawer.reports[number] = TrialReport(config, "worse" if number else "running")

    assert {told.config["optimizer"] for told in drawer.reports.values()} == {"sgd", "adamw"}
    assert drawer.draw(2) is None


def test_an_oracle_that_has_no_more_is_exhausted() -> None:
    says = "import sys; sys.stdin.readline(); sys.stdin.readline(); print('{\"exhausted\": true}')"
    command = (sys.executable, "-c", says)
    with (
        KerasTunerEngine(new_storage(), SPACE, oracle="random", command=command) as engine,
        pytest.raises(Exhausted),
    ):
        engine.ask()


def test_a_study_names_the_engine() -> None:
    search = {"engine": "keras_tuner_bayesian"}
    written = {"name": "a", "trials": 3, "search": search, "search_space": SPACE.model_dump()}

    assert StudyPlan.model_validate_json(json.dumps(written)).search.engine == search["engine"]


def test_the_protocol_is_one_json_object_a_line() -> None:
    begin = {
        "oracle": "random",
        "space": SPACE.model_dump(mode="json"),
        "seed": 1,
        "minimize": False,
    }
    asked = [json.dumps({"begin": begin}), json.dumps({"ask": {"number": 0}})]
    (first,) = responses(asked)
    tell = {"tell": {"number": 0, "config": first["config"], "state": "running"}}
    forget = {"forget": {"number": 0}}
    lines = [*asked[:1], json.dumps(tell), json.dumps(forget), asked[1]]

    assert list(responses(lines)) == [first]


def _drawn(minimize: bool, numbers: range) -> list[dict[str, Any]]:  # noqa: FBT001
    """Configs of the Bayesian oracle after thirty trials whose quality is the learning rate."""
    space = Space.model_validate(
        {"maximal_learning_rate": {"type": "float", "low": 0.1, "high": 1.0}}
    )
    drawer = OracleSampler(oracle="bayesian", space=space, seed=1, minimize=minimize)
    for number in range(12):
        rate = 0.1 + 0.9 * number / 11
        config = {"maximal_learning_rate": rate}
        drawer.reports[number] = TrialReport(
            config, "complete", quality=rate, seconds=math.exp(rate)
        )
    with warnings.catch_warnings():
        # scikit-learn's fit remarks on flat likelihoods; the oracle's process does not show it.
        warnings.simplefilter("ignore")
        return [config for number in numbers if (config := drawer.draw(number)) is not None]


def test_weights_that_change_walk_along_the_front() -> None:
    """More quality takes more time here: every rate is on the front."""
    rates = [config["maximal_learning_rate"] for config in _drawn(False, range(20, 30))]

    assert min(rates) < 0.3
    assert max(rates) > 0.8
    assert sum(0.3 < rate < 0.8 for rate in rates) >= 2


def test_where_less_is_better_both_objectives_agree() -> None:
    rates = [config["maximal_learning_rate"] for config in _drawn(True, range(20, 23))]

    assert max(rates) < 0.35


losses = st.lists(
    st.tuples(st.floats(-1, 1, width=32), st.floats(-5, 15, width=32)), min_size=1, max_size=12
)


@settings(max_examples=80, deadline=None)
@given(losses, st.integers(0, 9), st.integers(0, 99))
def test_a_trial_that_dominates_has_no_greater_loss(
    points: list[tuple[float, float]], seed: int, number: int
) -> None:
    scalars = scalar_losses(points, seed=seed, number=number)

    assert all(0 <= loss <= 1 + SUM_SHARE for loss in scalars)
    for one, its in zip(points, scalars, strict=True):
        for other, others in zip(points, scalars, strict=True):
            if one[0] <= other[0] and one[1] <= other[1]:
                assert its <= others


def test_a_point_in_a_hollow_of_the_front_wins_for_some_weights() -> None:
    """No weighted sum ever chooses it: it lies above the line between the other two."""
    points = [(0.0, 1.0), (0.55, 0.55), (1.0, 0.0)]
    winners = set()
    for number in range(40):
        scalars = scalar_losses(points, seed=0, number=number)
        winners.add(scalars.index(min(scalars)))

    assert winners == {0, 1, 2}


def test_no_trials_have_no_losses() -> None:
    assert scalar_losses([], seed=0, number=0) == []
