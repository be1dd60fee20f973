"""Places the trials of a study on parallel coordinates: one axis for each quantity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from effv2_tune.report.analysis import seconds_of
from effv2_tune.report.importance import is_numeric
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    ladder_ticks,
    short,
    spans_decades,
)
from effv2_tune.report.tables.trials import parameter_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis

#: Ticks of an axis that has no rounder ones.
_TICKS = 5
_FEWEST_TICKS, _MOST_TICKS = 2, 7
#: Digits of a position; figures have fewer pixels.
_DIGITS = 4


class Axis(NamedTuple):
    """One axis.

    Attributes:
        label: Its title.
        ticks: Positions from 0 (bottom) to 1 (top), with their texts.
        positions: Of each trial [n]; None where it has no value.
        is_choice: Whether only the ticks are values.
        low: The value at the bottom; 0 for choices.
        high: At the top.
        is_logarithmic: Whether values between them are on a logarithmic scale.
    """

    label: str
    ticks: Sequence[tuple[float, str]]
    positions: Sequence[float | None]
    is_choice: bool = False
    low: float = 0.0
    high: float = 0.0
    is_logarithmic: bool = False


class Coordinates(NamedTuple):
    """The axes, and the trials whose lines join them.

    Attributes:
        axes: The searched hyperparameters, then quality and training time.
        trials: Numbers of the trials [n].
    """

    axes: Sequence[Axis]
    trials: Sequence[int]


def parallel_coordinates(analysis: Analysis, device: DeviceAnalysis) -> Coordinates:
    """The complete trials of one device, without replicates; training times share no other axis."""
    trials = device.complete
    names = parameter_names(trials)
    axes = [
        parameter_axis(label_of(name), [trial.config.get(name) for trial in trials])
        for name in names
    ]
    qualities = [device.qualities[trial.number] for trial in trials]
    quality = label_of(analysis.study.quality)
    axes.append(number_axis(f"validation {quality}", qualities, lambda value: f"{value:.4g}"))
    axes.append(time_axis([seconds_of(trial) for trial in trials]))
    return Coordinates(axes, [trial.number for trial in trials])


def parameter_axis(label: str, values: Sequence[Any]) -> Axis:
    """The axis of a hyperparameter.

    Args:
        label: Its title.
        values: Of each trial [n]; None where it has none.
    """
    present = [value for value in values if value is not None]
    if is_numeric(present):
        return number_axis(label, values, short)
    choices = sorted(set(map(short, present)))
    last = max(len(choices) - 1, 1)
    places = {choice: round(place / last, _DIGITS) for place, choice in enumerate(choices)}
    return Axis(
        label,
        [(place, choice) for choice, place in places.items()],
        [None if value is None else places[short(value)] for value in values],
        is_choice=True,
    )


def number_axis(label: str, values: Sequence[float | None], text: Callable[[float], str]) -> Axis:
    """The axis of a number, logarithmic where its values span more than a decade.

    Args:
        label: Its title.
        values: Of each trial [n]; None where it has none.
        text: A value in words.
    """
    present = [float(value) for value in values if value is not None]
    low, high = min(present, default=0.0), max(present, default=1.0)
    log = spans_decades(present)
    ticks = _decades(low, high) if log else []
    if len(set(present)) <= _MOST_TICKS:
        ticks = sorted(set(present))
    elif not _FEWEST_TICKS <= len(ticks) <= _MOST_TICKS:
        ticks = [_value_at(low, high, place / (_TICKS - 1), log=log) for place in range(_TICKS)]
    if all(isinstance(value, int) for value in values if value is not None):
        ticks = sorted({float(round(tick)) for tick in ticks})
        texts = [short(int(tick)) for tick in ticks]
    else:
        texts = [text(_rounded(tick)) for tick in ticks]
    return Axis(
        label,
        [(_place(tick, low, high, log=log), it) for tick, it in zip(ticks, texts, strict=True)],
        [None if value is None else _place(value, low, high, log=log) for value in values],
        low=low,
        high=high,
        is_logarithmic=log,
    )


def time_axis(seconds: Sequence[float | None]) -> Axis:
    """The axis of training times, with ticks in the usual units.

    Args:
        seconds: Of each trial [n]; None where it has none.
    """
    axis = number_axis("training time", seconds, human_seconds)
    low, high, log = axis.low, axis.high, axis.is_logarithmic
    ticks = [tick for tick in ladder_ticks(low, high) if low <= tick <= high]
    if not _FEWEST_TICKS <= len(ticks) <= _MOST_TICKS:
        return axis
    return axis._replace(
        ticks=[(_place(tick, low, high, log=log), human_seconds(tick)) for tick in ticks]
    )


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def _value_at(low: float, high: float, place: float, *, log: bool) -> float:
    return low * (high / low) ** place if log else low + place * (high - low)


def _place(value: float, low: float, high: float, *, log: bool) -> float:
    if low == high:
        return 0.5
    share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
    return round(min(max(share, 0.0), 1.0), _DIGITS)


def _rounded(value: float) -> float:
    """To three significant digits: ticks between round numbers."""
    return float(f"{value:.3g}")
