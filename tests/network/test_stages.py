"""Stages of layers, and the stages that are trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from effv2_tune.catalog import TINY
from effv2_tune.errors import TuneError
from effv2_tune.network import (
    classifier,
    depths_from_head,
    stage_of,
    training_network,
    variables_by_stage,
)

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")


def tiny(**options: Any) -> Any:
    return training_network("tiny", **{"classes": 10, **options})


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def test_every_layer_belongs_to_a_stage() -> None:
    stages = [stage_of(layer.name, TINY) for layer in tiny().layers]

    assert stages == sorted(stages)
    assert set(stages) == {0, 1, 2, 3, 4}
    assert stage_of("stem_bn", TINY) == 0
    assert stage_of("stack_2_block1_MB_dw_", TINY) == 2
    assert stage_of("post_conv", TINY) == 3
    assert stage_of("predictions", TINY) == 4
    by_stage = variables_by_stage(tiny())
    assert sum(map(len, by_stage.values())) == sum(len(x.variables) for x in tiny().layers)


def test_the_depth_of_a_variable_counts_stages_from_the_classifier() -> None:
    network = tiny()
    depths = depths_from_head(network)
    by_name = {
        layer.name: depths[position]
        for position, variable in enumerate(network.trainable_variables)
        for layer in network.layers
        if any(variable is held for held in layer.trainable_variables)
    }

    assert len(depths) == len(network.trainable_variables)
    assert depths == sorted(depths, reverse=True)
    assert by_name["predictions"] == 0
    assert by_name["post_conv"] == by_name["post_bn"] == 1
    assert by_name["stack_2_block1_MB_dw_"] == 2
    assert by_name["stem_conv"] == by_name["stack_0_block0_fu_conv"] == 4


def test_what_is_not_trained_has_no_depth() -> None:
    assert set(depths_from_head(tiny(trainable_from=2))) == {0, 1, 2}
    assert depths_from_head(classifier("tiny", classes=10)) == [0, 0]


@pytest.mark.parametrize("start", [0, 1, 2, 3, "head"])
def test_stages_before_the_first_trained_one_run_as_in_inference(start: int | str) -> None:
    network = tiny(trainable_from=start, stochastic_depth=0.5)
    first = 4 if start == "head" else start
    frozen = {
        layer.name: [numbers(w) for w in layer.variables]
        for layer in network.layers
        if stage_of(layer.name, TINY) < first
    }

    network(IMAGES, training=True)

    trained = {w.path for w in network.trainable_variables}
    for layer in network.layers:
        belongs = stage_of(layer.name, TINY) >= first
        assert all((w.path in trained) == belongs for w in layer.trainable_variables)
        if not belongs:
            now = [numbers(w) for w in layer.variables]
            assert all(map(np.array_equal, now, frozen[layer.name]))
        elif isinstance(layer, keras.layers.BatchNormalization):
            assert numbers(layer.moving_mean).any()
    assert set(network._branch_factors(2)) == {p for p in (1, 4) if TINY.blocks[p].stage >= first}


def test_a_stage_that_is_not_there_is_refused() -> None:
    with pytest.raises(TuneError, match="'tiny' cannot be trained from stage 4"):
        tiny(trainable_from=4)
