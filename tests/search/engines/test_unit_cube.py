"""Configs as points of the unit cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import SPACE

from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from effv2_tune.study.space import Config

CONDITIONAL = Space.model_validate(
    {
        "optimizer": {"type": "choice", "values": ["sgd", "adamw", "adabelief"]},
        "momentum": {"type": "float", "low": 0.1, "high": 0.9, "when": {"optimizer": "sgd"}},
        "resolution": {"type": "choice", "values": [64, 32, 128]},
        "epochs": {"type": "int", "low": 4, "high": 20, "step": 4},
        "initial_learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "scale": "log"},
    }
)
seeds = st.integers(0, 2**16)
few = settings(max_examples=30, deadline=None)


def approximately(config: Config) -> dict[str, Any]:
    """A config up to rounding."""
    return {
        name: pytest.approx(value) if isinstance(value, float) else value
        for name, value in config.items()
    }


@few
@given(seeds, st.sampled_from([SPACE, CONDITIONAL]))
def test_every_point_is_a_config_and_every_config_a_point(seed: int, space: Space) -> None:
    cube = UnitCube(space)
    points = np.random.default_rng(seed).random((8, cube.dimensions))

    snapped = cube.snap(points)

    for point, nearest in zip(points, snapped, strict=True):
        config = cube.config(point)
        assert space.contains(config)
        assert cube.config(nearest) == approximately(config)
        np.testing.assert_allclose(cube.point(config), nearest, atol=1e-9)
    np.testing.assert_allclose(cube.snap(snapped), snapped, atol=1e-9)


def test_numbers_are_on_one_coordinate_in_their_order_and_words_have_one_each() -> None:
    cube = UnitCube(CONDITIONAL)
    config = {
        "optimizer": "adamw",
        "resolution": 32,
        "epochs": 20,
        "initial_learning_rate": 1e-5,
        "maximal_learning_rate": 1e-1,
    }

    point = cube.point(config).tolist()

    by_name = dict(zip(("sgd", "adamw", "adabelief", "momentum"), point, strict=False))
    assert by_name == {"sgd": 0.0, "adamw": 1.0, "adabelief": 0.0, "momentum": 0.5}
    # The least of three resolutions, in the middle of its part.
    assert any(abs(coordinate - 1 / 6) < 1e-9 for coordinate in point)
    assert cube.dimensions == 8


def test_configs_that_differ_in_real_numbers_alone_are_of_one_kind() -> None:
    cube = UnitCube(CONDITIONAL)
    points = np.random.default_rng(0).uniform(0.01, 0.99, (200, cube.dimensions))
    reals = ("initial_learning_rate", "maximal_learning_rate", "momentum")

    kinds = cube.kinds(points).tolist()

    others = [
        repr({name: value for name, value in config.items() if name not in reals})
        for config in cube.configs(points)
    ]
    assert len(set(others)) == len({tuple(kind) for kind in kinds})
    assert len(set(zip(others, map(tuple, kinds), strict=True))) == len(set(others))


def test_a_real_number_of_0_or_1_is_of_another_kind() -> None:
    real = {"type": "float", "low": 0.0, "high": 1.0}
    cube = UnitCube(Space.model_validate({"mixup": real, "rate": real | {"low": 0.5}}))

    kinds = cube.kinds(np.array([[0.0, 0.5], [0.5, 0.5], [0.7, 0.0], [1.0, 0.2]])).tolist()

    assert kinds[1] == kinds[2]
    assert kinds[0] != kinds[1] != kinds[3] != kinds[0]
