"""Selects and scales the observations that the model is conditioned on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from effv2_tune.search.freeze_thaw.kernel import Points, remaining_of
from effv2_tune.search.freeze_thaw.screening import on_all_images, on_subset, screening_gain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.search.freeze_thaw.history import Observation, Screening, Trial
    from effv2_tune.search.freeze_thaw.kernel import Floats

#: The share of the places that goes to the observations nearest to the front; the rest is spread
#: evenly over the others, so that the model knows bad regions, too.
_NEAR = 0.75


class Warp(NamedTuple):
    """A scale on which qualities are about normal: standardized, a long lower tail compressed.

    Attributes:
        center: The median of the ends.
        scale: About one standard deviation.
    """

    center: float
    scale: float

    @classmethod
    def of(cls, ends: Floats) -> Warp:
        """By quantiles of outcomes [n], to which failed configs mean little."""
        low, middle, high = np.quantile(ends, (0.25, 0.5, 0.9))
        return cls(float(middle), max(float(high - low) / 2, 1e-9 + 1e-6 * abs(float(middle))))

    def forward(self, qualities: Floats) -> Floats:
        """Plain to warped."""
        z = (qualities - self.center) / self.scale
        return np.where(z < 0, -np.log1p(-np.minimum(z, 0.0)), z)

    def inverse(self, warped: Floats) -> Floats:
        """Warped to plain."""
        plain = np.where(warped < 0, -np.expm1(-np.minimum(warped, 0.0)), warped)
        return np.asarray(self.center + self.scale * plain)

    def slope(self, qualities: Floats) -> Floats:
        """The derivative of `forward`, which converts standard errors."""
        z = (qualities - self.center) / self.scale
        return np.asarray(1.0 / (1.0 - np.minimum(z, 0.0)) / self.scale)


class CurveData(NamedTuple):
    """What the model is conditioned on.

    Attributes:
        points: n.
        values: [n], warped qualities.
        noise: [n], their variances.
        warp: Of the qualities.
        ends: What each observed trial is roughly expected to reach; plain qualities.
    """

    points: Points
    values: Floats
    noise: Floats
    warp: Warp
    ends: Mapping[int, float]


def median_gains(observations: Sequence[Observation]) -> dict[float, float]:
    """The median gain of full curves from each observed share to the end; 0 without any.

    The qualities of full curves between their observations are linear in the log of the share.
    """
    full = [
        np.array([(np.log(one.share), one.quality) for one in curve]).T
        for curve in _curves(observations)
        if curve[-1].share >= 1
    ]
    gains: dict[float, float] = {}
    for share in {one.share for one in observations}:
        known = [
            values[-1] - np.interp(np.log(share), logs, values)
            for logs, values in full
            if logs[0] <= np.log(share) + 1e-9
        ]
        gains[share] = float(np.median(known)) if known and share < 1 else 0.0
    return gains


def rough_ends(
    observations: Sequence[Observation], gains: Mapping[float, float]
) -> dict[int, float]:
    """The last quality of each trial, plus the median gain from there."""
    return {one.trial: one.quality + gains[one.share] for one in observations}


def _curves(observations: Sequence[Observation]) -> list[list[Observation]]:
    curves: dict[int, list[Observation]] = {}
    for one in observations:
        curves.setdefault(one.trial, []).append(one)
    return list(curves.values())


def curve_data(
    trials: Mapping[int, Trial],
    observations: Sequence[Observation],
    most: int,
    screenings: Mapping[int, Screening] | None = None,
) -> CurveData:
    """At most ``most`` observations, as the model takes them.

    Each quality has the median gain from its share added before it is warped: early qualities would
    otherwise be far in the compressed tail, where the gains of good and bad configs differ. To
    those of screenings, the median gain from the subset to all images is added likewise.

    Args:
        trials: By number.
        observations: In the order measured, one of a trial at least.
        most: Of the observations.
        screenings: By number. Where this is not None, the configs of the model have one more
            coordinate: the fidelity.
    """
    of_trials = [one for one in observations if one.trial in trials]
    gains = median_gains(of_trials)
    ends = rough_ends(of_trials, gains)
    warp = Warp.of(np.array(list(ends.values())))
    screened = [one for one in observations if one.trial not in trials][-(most // 2) :]
    chosen = _thinned(trials, of_trials, ends, most - len(screened))
    configs = np.array([trials[one.trial].config for one in chosen])
    qualities = np.array([one.quality + gains[one.share] for one in chosen])
    if screenings is not None:
        configs = on_all_images(configs)
    if screenings and screened:
        subset = np.array([screenings[one.trial].config for one in screened])
        gain = screening_gain(trials, observations, screenings, ends)
        configs = np.vstack([configs, on_subset(subset)])
        qualities = np.concatenate([qualities, [one.quality + gain for one in screened]])
        chosen = [*chosen, *screened]
    errors = np.array([one.standard_error for one in chosen])
    points = Points(
        configs,
        remaining_of(np.array([one.share for one in chosen])),
        np.array([one.trial for one in chosen]),
    )
    noise = (errors * warp.slope(qualities)) ** 2
    return CurveData(points, warp.forward(qualities), noise, warp, ends)


def _thinned(
    trials: Mapping[int, Trial],
    observations: Sequence[Observation],
    ends: Mapping[int, float],
    most: int,
) -> list[Observation]:
    """The last observation of each curve first, then earlier ones; near the front first."""
    if len(observations) <= most:
        return list(observations)
    gaps = _front_gaps(trials, ends)
    last = {one.trial: one.share for one in observations}

    def priority(one: Observation) -> tuple[bool, float, int, float]:
        earlier = one.share < last[one.trial]
        return (earlier, gaps[one.trial], one.trial, -one.share)

    ranked = sorted(observations, key=priority)
    near = round(_NEAR * most)
    rest = ranked[near:]
    places = np.linspace(0, len(rest) - 1, most - near).round().astype(int)
    return ranked[:near] + [rest[place] for place in sorted(set(places.tolist()))]


def _front_gaps(trials: Mapping[int, Trial], ends: Mapping[int, float]) -> dict[int, float]:
    """What each trial lacks in quality to the best one that is at most as slow."""
    gaps, best = {}, -np.inf
    for trial in sorted(ends, key=lambda one: (trials[one].seconds, -ends[one])):
        best = max(best, ends[trial])
        gaps[trial] = best - ends[trial]
    return gaps
