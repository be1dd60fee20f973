"""Search spaces: what is drawn lies inside, and can be read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from effv2_tune.study import Recipe, Space
from effv2_tune.study.space import ChoiceParameter, FloatParameter


def space(text: dict[str, Any]) -> Space:
    return Space.model_validate_json(json.dumps(text))


RATES = space(
    {
        "initial_learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1, "scale": "log"},
    }
)
CONDITIONAL = space(
    {
        "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
        "nesterov": {
            "type": "choice",
            "values": [True, False],
            "when": {"optimizer": ["sgd"], "epochs": 2},
        },
        "optimizer": {"type": "choice", "values": ["sgd", "adamw", None]},
        "epochs": {"type": "int", "low": 2, "high": 4},
        "seed": {"type": "fixed", "value": 7},
    }
)


def draw(data: st.DataObject, where: Space) -> dict[str, Any]:
    """Values as an engine would draw them."""
    drawn: dict[str, Any] = {}
    for dimension in where.dimensions():
        if not dimension.parameter.is_active(drawn):
            continue
        parameter = dimension.parameter
        if isinstance(parameter, ChoiceParameter):
            strategy: st.SearchStrategy[Any] = st.sampled_from(parameter.values)
        elif isinstance(parameter, FloatParameter):
            strategy = st.floats(parameter.low, parameter.high)
        else:
            steps = (parameter.high - parameter.low) // parameter.step
            strategy = st.integers(0, steps).map(
                lambda k, low=parameter.low, step=parameter.step: low + step * k
            )
        drawn[dimension.name] = data.draw(strategy, label=dimension.name)
    return drawn


@given(st.data())
def test_the_lower_bound_of_a_cycle_never_exceeds_the_upper_one(data: st.DataObject) -> None:
    config = RATES.decode(draw(data, RATES))

    assert 1e-5 <= config["initial_learning_rate"] <= config["maximal_learning_rate"]
    Recipe(**config)


@given(st.data(), st.sampled_from([RATES, CONDITIONAL]))
def test_a_config_can_be_read_back_as_what_was_drawn(data: st.DataObject, where: Space) -> None:
    config = where.decode(draw(data, where))

    assert where.contains(config)
    again = where.decode(where.encode(config))
    assert again.keys() == config.keys()
    assert all(again[name] == pytest.approx(config[name]) for name in config)


@given(st.data())
def test_a_parameter_exists_only_under_its_condition(data: st.DataObject) -> None:
    config = CONDITIONAL.decode(draw(data, CONDITIONAL))

    assert ("momentum" in config) == (config["optimizer"] == "sgd")
    assert ("nesterov" in config) == (config["optimizer"] == "sgd" and config["epochs"] == 2)
    assert config["seed"] == 7


def test_ranges_that_cannot_cross_are_drawn_as_they_are() -> None:
    apart = space(
        {
            "initial_learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3},
            "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1},
        }
    )

    assert [one.name for one in apart.dimensions()] == [
        "initial_learning_rate",
        "maximal_learning_rate",
    ]


def test_parents_are_drawn_before_what_depends_on_them() -> None:
    names = [one.name for one in CONDITIONAL.dimensions()]

    assert names.index("optimizer") < names.index("momentum")
    assert names.index("epochs") < names.index("nesterov")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"a": {"type": "int", "low": 1, "high": 4, "step": 2}}, "use high 3"),
        ({"a": {"type": "float", "low": 1, "high": 1}}, "type: fixed, value: 1"),
        (
            {"a": {"type": "int", "low": 1, "high": 2, "when": {"b": 1}}},
            "depends on 'b' .*not in the search space",
        ),
        (
            {
                "a": {"type": "fixed", "value": 1, "when": {"b": 1}},
                "b": {"type": "fixed", "value": 1, "when": {"a": 1}},
            },
            "are circular",
        ),
        (
            {
                "initial_learning_rate": {"type": "fixed", "value": 0.1},
                "maximal_learning_rate": {"type": "float", "low": 0.01, "high": 1},
            },
            "above the lowest maximal_learning_rate 0.01",
        ),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(text: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        space(text)


def test_true_is_not_one() -> None:
    choice = space({"a": {"type": "choice", "values": [1, True]}})

    assert choice.contains({"a": True})
    assert not space({"a": {"type": "choice", "values": [True]}}).contains({"a": 1})
