"""Computes how certain the front and its picks are, by Monte Carlo.

True qualities are drawn from their posterior distribution, training times from their intervals. The
random numbers are fixed: the same record gives the same probabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.estimates import Z90, Posterior
from effv2_tune.pareto.hypervolume import SHORTEST_SECONDS
from effv2_tune.pareto.objective import ACCURACY, Objective

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from effv2_tune.pareto.estimates import Candidate

    Floats = NDArray[np.float64]

DRAWS = 4000
#: The probability from which on a statement counts as certain.
LEVEL = 0.9
_SEED = 20
#: Numbers that are sorted at a time; bounds the memory.
_BLOCK = 1_000_000


def draw_outcomes(
    candidates: Sequence[Candidate], objective: Objective = ACCURACY, *, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """Joint draws of the true qualities and the true training times, each [draws, n].

    The qualities are for comparisons; see `Posterior.draw`.
    """
    rng = np.random.default_rng(_SEED)
    return Posterior(candidates, objective).draw(rng, draws), draw_seconds(candidates, draws=draws)


def draw_seconds(candidates: Sequence[Candidate], *, draws: int = DRAWS) -> Floats:
    """Draws of the true training times [draws, n].

    Log-normal on each side of the time, with 5 % below and 5 % above the interval. The candidates
    of one time group are all faster, or all slower, than expected.
    """
    rng = np.random.default_rng(_SEED + 1)
    groups = [one.time_group or str(position) for position, one in enumerate(candidates)]
    names = {name: column for column, name in enumerate(dict.fromkeys(groups))}
    deviation = rng.standard_normal((draws, len(names)))[:, [names[group] for group in groups]]
    expected, low, high = (
        np.log(np.maximum(times, SHORTEST_SECONDS))
        for times in zip(
            *((one.seconds, one.seconds_low, one.seconds_high) for one in candidates), strict=True
        )
    )
    scale = np.where(deviation < 0, expected - low, high - expected) / Z90
    return np.asarray(np.exp(expected + deviation * scale))


def front_probabilities(
    candidates: Sequence[Candidate], objective: Objective = ACCURACY, *, draws: int = DRAWS
) -> list[float]:
    """The probability of each candidate [n] to be on the true Pareto front."""
    counts = np.zeros(len(candidates))
    for costs, _, order, on_front in _sorted_draws(candidates, objective, draws):
        marks = np.zeros(costs.shape)
        np.put_along_axis(marks, order, on_front.astype(float), axis=1)
        counts += marks.sum(axis=0)
    return [float(count) / draws for count in counts]


def pick_probabilities(
    candidates: Sequence[Candidate],
    objective: Objective = ACCURACY,
    *,
    among: Sequence[int] | None = None,
    draws: int = DRAWS,
) -> dict[str, list[float]]:
    """The probability of each candidate [n] to be the true pick, by the name of the pick.

    The picks are those of `pareto.picking`: ``fastest``, ``knee`` and ``most-accurate``. Each
    list adds up to 1.

    Args:
        candidates: [n].
        objective: Of the study.
        among: Positions of those that can be picked; all of them if left out. The others still
            inform the estimates.
        draws: Of the Monte Carlo computation.
    """
    kept = list(range(len(candidates)) if among is None else among)
    counts = {name: np.zeros(len(candidates)) for name in ("fastest", "knee", "most-accurate")}
    for costs, seconds, order, on_front in _sorted_draws(candidates, objective, draws, kept):
        rows = np.arange(len(costs))
        chosen = {
            "fastest": order[:, 0],
            "knee": order[rows, _knees(costs, seconds, order, on_front)],
            "most-accurate": costs.argmin(axis=1),
        }
        for name, positions in chosen.items():
            counts[name][kept] += np.bincount(positions, minlength=len(kept))
    return {name: [float(count) / draws for count in its] for name, its in counts.items()}


def _sorted_draws(
    candidates: Sequence[Candidate],
    objective: Objective,
    draws: int,
    among: Sequence[int] | None = None,
) -> Iterator[tuple[Floats, Floats, NDArray[np.intp], NDArray[np.bool_]]]:
    """Blocks of draws: costs, seconds, order by time, and the front in that order."""
    if not candidates:
        return
    qualities, seconds = draw_outcomes(candidates, objective, draws=draws)
    if among is not None:
        qualities, seconds = qualities[:, among], seconds[:, among]
    costs = objective.quality_cost(1.0) * qualities
    block = max(_BLOCK // len(candidates), 1)
    for start in range(0, draws, block):
        mine, times = costs[start : start + block], seconds[start : start + block]
        order = np.lexsort((mine, times), axis=1)
        ordered = np.take_along_axis(mine, order, axis=1)
        least = np.minimum.accumulate(ordered, axis=1)
        on_front = np.ones(ordered.shape, bool)
        on_front[:, 1:] = ordered[:, 1:] < least[:, :-1]
        yield mine, times, order, on_front


def _knees(
    costs: Floats, seconds: Floats, order: NDArray[np.intp], on_front: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Where in the order by time the knee of each draw is; as `pareto.picking.knee` finds it."""
    losses = np.take_along_axis(costs, order, axis=1)
    times = np.log(np.take_along_axis(seconds, order, axis=1))
    # The fastest is on the front, and has the greatest loss of it; the last is the best.
    last = on_front.shape[1] - 1 - on_front[:, ::-1].argmax(axis=1)
    rows = np.arange(len(losses))
    loss_span = losses[:, 0] - losses[rows, last]
    time_span = times[rows, last] - times[:, 0]
    gained = (losses[:, :1] - losses) / np.where(loss_span > 0, loss_span, 1.0)[:, None]
    spent = (times - times[:, :1]) / np.where(time_span > 0, time_span, 1.0)[:, None]
    above = np.where(on_front, np.round(gained - spent, 12), -np.inf)
    # Among equals the better one, which comes later.
    return np.asarray(above.shape[1] - 1 - above[:, ::-1].argmax(axis=1))
