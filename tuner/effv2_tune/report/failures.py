"""Groups the trials without a result by state and reason, with advice for each group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import (
    human_seconds,
    percent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial, TrialState

#: States without a result, those that need attention first; and what to do about them.
ADVICE: dict[TrialState, str] = {
    "failed": (
        "An error outside of the config: the config may be a good one. Fix the cause, then add "
        "--retry-failed to the command of the study, which trains these configs again."
    ),
    "diverged": (
        "The learning rate was probably too high for these configs. Where many diverge, lower the "
        "upper bound of maximal_learning_rate ('effv2-tune range' with the study file proposes "
        "bounds), or search warmup_epochs."
    ),
    "infeasible": (
        "These configs cannot be trained on this device, and cost little more than their "
        "compilation. Where there are many, leave the largest networks, resolutions or batches "
        "out of the search space; 'effv2-tune plan' with the study file names what fits."
    ),
}
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
#: Characters of a reason that are shown; the pinned trial has all of it.
_LONGEST = 300


class FailureGroup(NamedTuple):
    """Trials that ended without a result for the same reason.

    Attributes:
        state: Of all of them.
        reason: Numbers that differ between them are ranges.
        trials: Their numbers, ascending.
        seconds: Wall time that they took in all.
    """

    state: TrialState
    reason: str
    trials: tuple[int, ...]
    seconds: float


def failure_groups(study: ReportInput) -> list[FailureGroup]:
    """The trials without a result, by state and reason; the largest group of a state first.

    Failed trials that were retried, and those outside of an edited search space, are left out.
    """
    retried = {trial.retry_of for trial in study.trials}
    members: dict[tuple[TrialState, str], list[Trial]] = {}
    for trial in study.trials:
        if trial.state in ADVICE and trial.number not in retried and not trial.is_outside:
            key = (trial.state, _NUMBER.sub("0", _first_line(trial.reason)))
            members.setdefault(key, []).append(trial)
    order = list(ADVICE)
    groups = [
        FailureGroup(
            state,
            common_reason([_first_line(trial.reason) for trial in trials]),
            tuple(trial.number for trial in trials),
            sum(trial.times.wall for trial in trials),
        )
        for (state, _), trials in members.items()
    ]
    return sorted(groups, key=lambda each: (order.index(each.state), -len(each.trials)))


def failure_sentence(groups: Sequence[FailureGroup], study: ReportInput) -> str:
    """How many trials ended without a result, and what they cost."""
    count = sum(len(group.trials) for group in groups)
    seconds = sum(group.seconds for group in groups)
    spent = sum(trial.times.wall for trial in study.trials)
    cost = ""
    if seconds > 0 and spent > 0:
        cost = (
            f" They took {human_seconds(seconds)}, {percent(seconds / spent)} of the workers' time."
        )
    return f"{count:,} of {pluralized(len(study.trials), 'trial')} ended without a result.{cost}"


def common_reason(reasons: Sequence[str]) -> str:
    """Reasons that differ in numbers as one: ``the loss became NaN in epoch 3 to 7``.

    Args:
        reasons: Equal but for their numbers; at least one.
    """
    columns = zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True)
    ranges = iter([_range(values) for values in columns])
    return _NUMBER.sub(lambda _: next(ranges), reasons[0])


def _range(values: Sequence[str]) -> str:
    low, high = min(values, key=_value), max(values, key=_value)
    return low if _value(low) == _value(high) else f"{low} to {high}"


def _value(text: str) -> tuple[float, str]:
    """What a number is ordered by; one with several points, such as an address, by its text."""
    try:
        return float(text.replace(",", "")), ""
    except ValueError:
        return 0.0, text


def _first_line(reason: str) -> str:
    line = reason.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
