from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.search.freeze_thaw.curves_of_a_family import history_of

from effv2_tune.search.freeze_thaw import History
from effv2_tune.search.freeze_thaw.fitting import PARTS, Fit
from effv2_tune.search.freeze_thaw.refitting import Refits, fitted_count, used_count

#: 75 observations.
HISTORY = history_of(np.random.default_rng(0).random((30, 2)), [4, 1, 2, 3, 2, 3] * 5)


def first(count: int) -> History:
    return History(HISTORY.trials, HISTORY.observations[:count])


@given(st.integers(1, 2000))
def test_the_hyperparameters_are_fitted_rarely_and_on_most_observations(count: int) -> None:
    newest, used = fitted_count(count), used_count(count)

    assert newest <= count <= newest * 1.15 + 1
    assert fitted_count(newest) == newest
    assert used <= newest <= used * 1.15 + 1
    assert fitted_count(used) == used


def test_a_fit_that_is_spread_is_that_of_a_new_process() -> None:
    spread = Refits(0, 60)

    for count in range(1, len(HISTORY.observations) + 1):
        hyper = spread.current(first(count))

    at_once = Refits(0, 60).current(HISTORY)
    assert hyper.logs == pytest.approx(at_once.logs, abs=0)


def test_no_decision_computes_a_whole_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    one = Fit._step
    monkeypatch.setattr(Fit, "_step", lambda fit, start: (steps.append(start), one(fit, start))[1])
    refits, counts = Refits(0, 60), []
    for count in range(1, len(HISTORY.observations) + 1):
        steps.clear()
        refits.current(first(count))
        counts.append(len(steps))

    late = counts[40:]
    assert 0 < max(late) <= PARTS / 4 + 1
    assert sum(late) >= PARTS


def test_only_the_fits_in_use_are_kept() -> None:
    refits = Refits(0, 60)

    for count in range(1, len(HISTORY.observations) + 1):
        refits.current(first(count))
        assert len(refits._fits) <= 2
