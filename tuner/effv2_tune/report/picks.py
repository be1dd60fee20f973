"""Picks a trial by estimates, and describes how certain the pick is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune import pareto
from effv2_tune.pareto.certainty import LEVEL
from effv2_tune.report.analysis import network_of
from effv2_tune.report.candidates import config_key
from effv2_tune.report.quantities import human_seconds, label_of
from effv2_tune.study.recipe import quality_direction
from effv2_tune.study.training_run import Promise
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.pareto import Candidate, Estimate, Objective
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Trial

_CHOOSE = {
    "knee": pareto.knee,
    "most-accurate": pareto.most_accurate,
    "fastest": pareto.fastest,
}
_TRULY = {"knee": "the knee", "most-accurate": "the best", "fastest": "the fastest"}
PICKS = tuple(_CHOOSE)
#: Less than this is no chance worth a sentence.
_LEAST_PROBABILITY = 0.05
#: The least correction that four decimals show.
_NOTICEABLE = 0.00005


@dataclass(frozen=True)
class Option:
    """A complete trial that can be picked.

    Attributes:
        trial: The trial.
        candidate: Its measured values.
        estimate: Of its quality.
        seed_deviation: Standard deviation between its trainings with other seeds.
    """

    trial: Trial
    candidate: Candidate
    estimate: Estimate
    seed_deviation: float

    @property
    def seconds_interval(self) -> tuple[float, float] | tuple[None, None]:
        """The 90 % interval of the training seconds, where it is known."""
        low, high = self.candidate.seconds_low, self.candidate.seconds_high
        return (low, high) if low < high else (None, None)

    def measurement(self, objective: Objective, *, robust: bool) -> Measurement:
        """The values that decide: the estimate, or the worse end of its 90 % interval."""
        one = self.estimate
        worse = one.low if objective.quality_direction == "maximize" else one.high
        return Measurement(
            quality=worse if robust else one.quality, train_seconds=self.candidate.seconds
        )


@dataclass(frozen=True)
class Pick:
    """A picked trial, and how certain the pick is.

    Attributes:
        option: The trial and its estimate.
        name: How it was picked: ``knee``, ``trial=3``.
        quality: The study's quality.
        compared: How many measured values there were to pick from.
        robust: Whether the worse end of the interval decided.
        probability: That it is the true knee, most accurate or fastest one; None where it was
            picked by its number.
        alternative: The next most probable one; None where the pick is clear.
        alternative_probability: That it is the true one.
    """

    option: Option
    name: str
    quality: Quality
    compared: int
    robust: bool = False
    probability: float | None = None
    alternative: Option | None = None
    alternative_probability: float = 0.0

    @property
    def trial(self) -> Trial:
        """The trial."""
        return self.option.trial

    def promise(self) -> Promise:
        """What the search expects of a final training."""
        one, candidate = self.option.estimate, self.option.candidate
        return Promise(
            quality=one.quality,
            standard_error=one.standard_error,
            low=one.low,
            high=one.high,
            raw=one.raw,
            raw_standard_error=candidate.standard_error,
            seed_deviation=self.option.seed_deviation,
            replicates=one.replicates,
        )

    @property
    def rule(self) -> str:
        """The name of the pick and how it was decided, for its provenance."""
        return f"{self.name}, robust" if self.robust else self.name

    def sentences(self) -> list[str]:
        """What was picked, how certain that is, and what the estimate corrects."""
        objective = pareto.Objective(quality_direction(self.quality))
        lines = [f"{self.rule}: {_described(self.option, self.quality)}."]
        if self.probability is not None:
            lines.append(_certainty(self, self.probability))
        return [*lines, selection_sentence(self.option.estimate, self.compared, objective)]

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        alternative = self.alternative
        return {
            "pick": self.name,
            "robust": self.robust,
            "quality": self.quality,
            **_plain(self.option),
            "probability": self.probability,
            "compared": self.compared,
            "alternative": None
            if alternative is None
            else _plain(alternative) | {"probability": self.alternative_probability},
        }


def options_of(kind: DeviceAnalysis) -> list[Option]:
    """The complete trials on one kind of device, with their estimates.

    Duplicates, which have the outcome of another trial, count once.
    """
    known: dict[str, tuple[Trial, Candidate]] = {}
    for one in zip(kind.complete, kind.candidates, strict=True):
        known.setdefault(config_key(one[0]), one)
    candidates = [candidate for _, candidate in known.values()]
    deviations = map(math.sqrt, pareto.seed_variance(candidates).each)
    estimates = pareto.estimates(candidates, kind.objective)
    return [
        Option(trial, candidate, estimate, deviation)
        for (trial, candidate), estimate, deviation in zip(
            known.values(), estimates, deviations, strict=True
        )
    ]


def choose(
    name: str,
    options: Sequence[Option],
    quality: Quality,
    objective: Objective,
    *,
    robust: bool = False,
    max_seconds: float | None = None,
    min_quality: float | None = None,
) -> Pick | None:
    """Pick the ``knee``, the ``most-accurate`` or the ``fastest`` of all options within the limits.

    Args:
        name: Of the pick.
        options: Every complete trial of one kind of device.
        quality: The study's quality.
        objective: Its direction.
        robust: Decide by the worse end of the 90 % intervals instead of the estimates; limits, too.
        max_seconds: The longest training time; None for no limit.
        min_quality: The least estimate (of a loss: the greatest); None for no limit.

    Returns:
        None where no trial is within the limits.
    """
    points = [option.measurement(objective, robust=robust) for option in options]
    kept = pareto.within(points, objective, max_seconds=max_seconds, min_quality=min_quality)
    chosen = _CHOOSE[name]([points[position] for position in kept], objective)
    if chosen is None:
        return None
    candidates = [option.candidate for option in options]
    chances = pareto.pick_probabilities(candidates, objective, among=kept)[name]
    others = [position for position in kept if position != kept[chosen]]
    second = max(others, key=chances.__getitem__, default=None)
    probability = chances[kept[chosen]]
    is_clear = second is None or probability >= LEVEL or chances[second] < _LEAST_PROBABILITY
    return Pick(
        option=options[kept[chosen]],
        name=name,
        quality=quality,
        compared=len(kept),
        robust=robust,
        probability=probability,
        alternative=None if is_clear or second is None else options[second],
        alternative_probability=0.0 if is_clear or second is None else chances[second],
    )


def selection_sentence(estimate: Estimate, compared: int, objective: Objective) -> str:
    """The winner's curse, with the correction that the estimate makes for it."""
    if compared == 1:
        return "There is no other measured value to correct it by."
    side = "high" if objective.quality_direction == "maximize" else "low"
    change = estimate.quality - estimate.raw
    correction = f"takes {-change:.4f} off" if change < 0 else f"adds {change:.4f}"
    if abs(change) < _NOTICEABLE:
        correction = "hardly changes this one"
    return (
        f"The best of {compared} measured values is on average too {side}, as luck has helped to "
        f"make it the best; the estimate {correction}."
    )


def _described(option: Option, quality: Quality) -> str:
    one, seconds = option.estimate, human_seconds(option.candidate.seconds)
    raw = "measured" if one.replicates == 1 else f"mean of {one.replicates} trainings"
    low, high = option.seconds_interval
    if low is not None and high is not None:
        seconds += f" ({human_seconds(low)} to {human_seconds(high)})"
    return (
        f"trial {option.trial.number} ({network_of(option.trial)}), expected {label_of(quality)} "
        f"{one.quality:.4f} (90 % interval {one.low:.4f} to {one.high:.4f}, {raw} {one.raw:.4f}) "
        f"in {seconds}"
    )


def _certainty(pick: Pick, probability: float) -> str:
    sentence = f"It is truly {_TRULY[pick.name]} with probability {probability:.2f}"
    if pick.alternative is None:
        return f"{sentence}."
    return (
        f"{sentence}; {_described(pick.alternative, pick.quality)} cannot be distinguished from "
        f"it, with probability {pick.alternative_probability:.2f}."
    )


def _plain(option: Option) -> dict[str, Any]:
    one, interval = option.estimate, option.seconds_interval
    return {
        "trial": option.trial.number,
        "estimate": one.quality,
        "standard_error": one.standard_error,
        "low": one.low,
        "high": one.high,
        "raw": one.raw,
        "replicates": one.replicates,
        "train_seconds": option.candidate.seconds,
        "train_seconds_low": interval[0],
        "train_seconds_high": interval[1],
    }
