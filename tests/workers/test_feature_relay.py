"""One worker extracts features, and other nodes copy them."""

from __future__ import annotations

from pathlib import Path

from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.workers.feature_relay import Copy, FeatureRelay, Send, features_of
from effv2_tune.workers.messages import Train

RECIPE = Recipe(
    data=DataSpec(name="digits"),
    variant="tiny",
    backbone="frozen",
    weights="tiny.weights.h5",
    resolution=32,
)


def train(trial: int, **changes: object) -> Train:
    recipe = RECIPE.model_copy(update=changes)
    return Train(trial=trial, recipe=recipe, rungs=(), step_seconds=None, checkpoint=Path("t"))


def sent(relay: FeatureRelay) -> list[int]:
    """Trials that may begin now; there is nothing to copy."""
    actions = list(relay.actions())
    assert all(isinstance(action, Send) for action in actions)
    return [action.message.trial for action in actions if isinstance(action, Send)]


def waiting_for_one(relay: FeatureRelay) -> None:
    """Worker 0 of node a extracts, and worker 1 of node b waits."""
    relay.hold(0, "a", train(0))
    relay.hold(1, "b", train(1))
    assert sent(relay) == [0]
    assert relay.is_held(1)


def test_another_node_waits_for_the_features_and_copies_them_once() -> None:
    relay = FeatureRelay()
    waiting_for_one(relay)
    relay.hold(2, "b", train(2))
    assert sent(relay) == []

    relay.take_found(0)
    (copy,) = relay.actions()
    assert copy == Copy(features_of(RECIPE), 0, 1, ("a", "b"))
    assert not list(relay.actions())

    relay.take_copied(copy, succeeded=True)
    assert sent(relay) == [1, 2]
    relay.leave(1)
    relay.hold(1, "b", train(3))
    assert sent(relay) == [3]


def test_workers_of_one_node_wait_for_each_other_by_themselves() -> None:
    relay = FeatureRelay()
    relay.hold(0, "a", train(0))
    relay.hold(1, "a", train(1))

    assert sent(relay) == [0, 1]


def test_other_features_are_extracted_meanwhile() -> None:
    relay = FeatureRelay()
    waiting_for_one(relay)

    relay.hold(2, "c", train(2, resolution=64))

    assert sent(relay) == [2]


def test_if_the_worker_that_extracts_is_gone_another_one_does() -> None:
    relay = FeatureRelay()
    waiting_for_one(relay)

    relay.exit(0)

    assert sent(relay) == [1]


def test_where_the_source_is_gone_the_features_are_extracted_anew() -> None:
    relay = FeatureRelay()
    waiting_for_one(relay)
    relay.take_found(0)
    (copy,) = relay.actions()
    assert isinstance(copy, Copy)

    relay.exit(0)
    relay.take_copied(copy, succeeded=False)

    assert sent(relay) == [1]


def test_a_worker_that_is_asked_to_stop_does_not_begin() -> None:
    relay = FeatureRelay()
    waiting_for_one(relay)

    relay.leave(1)
    relay.take_found(0)

    assert not relay.is_held(1)
    assert sent(relay) == []


def test_trials_on_images_need_no_features() -> None:
    assert not features_of(RECIPE.model_copy(update={"backbone": "finetune"}))
    assert not features_of(RECIPE.model_copy(update={"features": "off"}))
