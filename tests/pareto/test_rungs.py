"""Rungs: their epochs, and the cycles of a schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.pareto.strategies import EPOCHS

from effv2_tune.pareto import cycle_epochs, place_rungs, rungs_of
from effv2_tune.study.recipe import Recipe, Settings

FRACTIONS = st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted).map(tuple)
CYCLES = st.none() | st.floats(0.5, 50)


@given(EPOCHS, FRACTIONS, CYCLES)
def test_rungs_ascend_and_none_is_at_the_last_epoch(
    epochs: int, fractions: tuple[float, ...], cycle: float | None
) -> None:
    placed = list(place_rungs(epochs, fractions, cycle=cycle).values())

    assert placed == sorted(set(placed))
    assert all(1 <= epoch < epochs for epoch in placed)


@given(EPOCHS, FRACTIONS, CYCLES)
def test_a_rung_keeps_the_index_of_its_fraction(
    epochs: int, fractions: tuple[float, ...], cycle: float | None
) -> None:
    placed = place_rungs(epochs, fractions, cycle=cycle)

    assert list(placed) == sorted(placed)
    assert all(0 <= rung < len(fractions) for rung in placed)


@given(EPOCHS, FRACTIONS, st.integers(1, 25))
def test_rungs_of_a_cycling_schedule_are_in_its_valleys(
    epochs: int, fractions: tuple[float, ...], half_cycle: int
) -> None:
    cycle = 2.0 * half_cycle

    placed = place_rungs(epochs, fractions, cycle=cycle)
    assert all(epoch % cycle == 0 for epoch in placed.values())


def test_rungs_of_the_default_fractions() -> None:
    assert place_rungs(50, (0.1, 0.22, 0.4)) == {0: 5, 1: 11, 2: 20}
    assert place_rungs(25, (0.1, 0.22, 0.4), cycle=4.0) == {0: 4, 2: 8}


def test_only_a_cycling_schedule_without_averaged_weights_has_valleys() -> None:
    assert cycle_epochs(Settings(schedule="triangular2", step_size_epochs=3.0)) == 6.0
    assert cycle_epochs(Settings(schedule="cosine")) is None
    assert cycle_epochs(Settings(schedule="triangular2", ema=True)) is None


def test_rungs_are_among_the_epochs_that_train_all_layers() -> None:
    recipe = Recipe(epochs=12, schedule="cosine", backbone="finetune", weights="imagenet")
    cycling = recipe.with_settings(schedule="triangular", step_size_epochs=2, head_epochs=3)

    assert rungs_of(recipe, (0.25, 0.5)) == {0: 3, 1: 6}
    assert rungs_of(recipe.with_settings(head_epochs=4), (0.25, 0.5)) == {0: 6, 1: 8}
    # The cycles begin anew with the second part.
    assert rungs_of(cycling, (0.5,)) == {0: 3 + 4}
