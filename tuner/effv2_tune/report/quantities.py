"""Formats durations, values and counts for reading."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
_HALF_MINUTE, _QUARTER = 30.0, 900.0
_TENTH, _MEGA, _GIGA = 0.1, 1e6, 1e9
TENS = 9.95  # seconds; above, tenths are omitted

#: Beyond this ratio of the longest to the shortest time an axis is logarithmic.
LOGARITHMIC_SPAN = 10.0

#: Possible ticks of a logarithmic time axis, in seconds: round numbers of each unit of time.
TIME_LADDER = (
    *(factor * 10.0**power for power in range(-3, 1) for factor in (1, 2, 5)),
    *(10.0, 20.0, 30.0),
    *(factor * MINUTE for factor in (1, 2, 5, 10, 20, 30)),
    *(factor * HOUR for factor in (1, 2, 5, 10)),
    *(factor * DAY for factor in (1, 2, 5, 10, 20, 50, 100)),
)


class TimeUnit(NamedTuple):
    """A unit that an axis counts in.

    Attributes:
        name: Its name in the title of the axis.
        seconds: Its length.
    """

    name: str
    seconds: float


def time_unit(longest: float) -> TimeUnit:
    """The unit that keeps the numbers of a time axis up to ``longest`` seconds small."""
    if longest < 3 * MINUTE:
        return TimeUnit("seconds", 1.0)
    if longest < 3 * HOUR:
        return TimeUnit("minutes", MINUTE)
    return TimeUnit("hours", HOUR)


def human_seconds(seconds: float) -> str:
    """A duration in common units: ``42 s``, ``3 min 12 s``, ``2 h 05 min``."""
    if seconds < 0 or not math.isfinite(seconds):
        return str(seconds)
    if seconds < MINUTE - 0.5:
        return f"{seconds:.2g} s" if seconds < TENS else f"{seconds:.0f} s"
    if seconds < HOUR - 0.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    if seconds < DAY:
        hours, rest = divmod(round(seconds / MINUTE), 60)
        return f"{hours} h {rest:02d} min" if rest else f"{hours} h"
    days, rest = divmod(round(seconds / HOUR), 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def left_text(seconds: float) -> str:
    """The time left in words, to no more digits than are known: ``about 6 min left``."""
    if seconds < _HALF_MINUTE:
        return "less than a minute left"
    if seconds < HOUR - _HALF_MINUTE:
        return f"about {round(seconds / MINUTE)} min left"
    return f"about {human_seconds(_QUARTER * round(seconds / _QUARTER))} left"


def spans_decades(seconds: list[float]) -> bool:
    """Whether positive times differ by more than ``LOGARITHMIC_SPAN``."""
    return bool(seconds) and min(seconds) > 0 and max(seconds) / min(seconds) > LOGARITHMIC_SPAN


def ladder_ticks(shortest: float, longest: float) -> list[float]:
    """The entries of ``TIME_LADDER`` within a factor of two of a range, in seconds."""
    return [tick for tick in TIME_LADDER if shortest / 2 <= tick <= longest * 2]


def short(value: Any) -> str:
    """A setting's value in few characters: four significant digits, ``1e-05``, ``yes``, ``b0``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {short(entry)}" for key, entry in value.items())
    return str(value)


def label_of(name: str) -> str:
    """A key as words: ``maximal_learning_rate`` is ``maximal learning rate``."""
    return name.replace("_", " ")


def with_error(value: float, standard_error: float) -> str:
    """A value with its standard error: ``0.9306 ± 0.0151``."""
    return f"{value:.4f} \N{PLUS-MINUS SIGN} {standard_error:.4f}"


def percent(share: float) -> str:
    """A share from 0 to 1 in per cent: ``93 %``."""
    return f"{100 * share:.0f} %"


def human_bytes(count: float) -> str:
    """A number of bytes in common units: ``12 kB``, ``29.3 MB``, ``1.2 GB``."""
    if count < _TENTH * _MEGA:
        return f"{count / 1000:.0f} kB"
    if count < _GIGA:
        return f"{count / _MEGA:.3g} MB"
    return f"{count / _GIGA:.3g} GB"
