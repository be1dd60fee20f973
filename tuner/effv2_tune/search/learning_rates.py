"""Replaces the bounds of the learning rates in a search space by those of range tests.

The tests are facts of the study. Each set of bounds is a version: it belongs to the recipe and the
search space as they were written, so that a resumed study has its bounds without another test, and
an edited one has new ones where it needs them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.study.base import Value
from effv2_tune.study.space import FloatParameter, Space, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Config

INITIAL, MAXIMAL = "initial_learning_rate", "maximal_learning_rate"
#: Keys of facts: of the test of a family of buckets, by its digest; of a version, by its number.
_TEST, _VERSION = "range_test:", "learning_rates:"

Interval = tuple[float, float]


class RatesTest(Value):
    """The range test of a family of buckets.

    Attributes:
        label: The short name of the bucket that was tested.
        share: Of the study's trials that fall into the family, from 0 to 1.
        steps: How many were trained.
        seconds: What the test took, with the compilation.
        initial: Proposed bounds of `initial_learning_rate`; None where the schedule ignores it, or
            nothing is learned.
        maximal: Those of `maximal_learning_rate`; None where nothing is learned, or the bucket does
            not fit.
        reason: Why the bucket does not fit; empty where it does.
    """

    label: str
    share: float
    steps: int
    seconds: float
    initial: Interval | None = None
    maximal: Interval | None = None
    reason: str = ""


class LearningRates(Value):
    """Bounds of the learning rates: one version of them.

    Attributes:
        written: Digest of recipe and space as the study file has them.
        bounded: The same with these bounds.
        bounds: Of each parameter that they replace, by its name.
        labels: Short names of the buckets that were tested.
    """

    written: str
    bounded: str
    bounds: dict[str, Interval]
    labels: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The bounds in words."""
        ranges = [f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in self.bounds.items()]
        return f"{', '.join(ranges)}, by range tests of {', '.join(self.labels)}"


def version_of(
    plan: StudyPlan, tested: Sequence[RatesTest], *, first: Iterable[Config] = ()
) -> LearningRates:
    """The bounds that contain the proposals of all tests.

    The rates of configs that are tried first are inside, too: somebody wants them to be tried.

    Args:
        plan: As the study file has it.
        tested: Of each family of its buckets.
        first: Configs that are tried first, beside those that the plan enqueues.

    Raises:
        TuneError: No test has a proposal, or it contradicts an `initial_learning_rate` that is not
            searched as a range.
    """
    found = {
        INITIAL: [one.initial for one in tested if one.initial is not None],
        MAXIMAL: [one.maximal for one in tested if one.maximal is not None],
    }
    if not found[MAXIMAL]:
        reasons = dict.fromkeys(f"{one.label}: {one.reason}" for one in tested if one.reason)
        raise TuneError(
            "No bucket learns anything at any learning rate that was tested, so the search space "
            f"has no bounds.{''.join(f' {reason}.' for reason in reasons)}",
            hint="See the losses with: effv2-tune range; or remove 'range_test:'.",
        )
    bounds: dict[str, Interval] = {}
    for name, intervals in found.items():
        tried = [config[name] for config in (*plan.enqueue, *first) if name in config]
        if intervals and isinstance(plan.search_space.parameters.get(name), FloatParameter):
            low = min([*(low for low, _ in intervals), *tried])
            bounds[name] = (low, max([*(high for _, high in intervals), *tried]))
    low, high = bounds[MAXIMAL]
    least = _least_maximal(plan, bounds)
    if least >= high:
        raise TuneError(
            f"{MAXIMAL} {low:.3g} to {high:.3g}, the bounds of the range test, are not above "
            f"{INITIAL} {least:.3g}.",
            hint=f"Search {INITIAL} as a range, or set a lower one.",
        )
    bounds[MAXIMAL] = (max(low, least), high)
    return LearningRates(
        written=digest_of(plan),
        bounded=digest_of(_bounded(plan, bounds)),
        bounds=bounds,
        labels=tuple(one.label for one in tested),
    )


def _least_maximal(plan: StudyPlan, bounds: Mapping[str, Interval]) -> float:
    """What `maximal_learning_rate` may not be below in any config."""
    if INITIAL in bounds:
        return bounds[INITIAL][0]
    parameter = plan.search_space.parameters.get(INITIAL)
    if parameter is None:
        return plan.recipe.initial_learning_rate
    values = [float(value) for value in values_of(parameter)]
    return min(values) if isinstance(parameter, FloatParameter) else max(values)


def with_bounds(plan: StudyPlan, rates: LearningRates) -> StudyPlan:
    """The plan with these bounds in its search space."""
    return _bounded(plan, rates.bounds)


def _bounded(plan: StudyPlan, bounds: Mapping[str, Interval]) -> StudyPlan:
    parameters = dict(plan.search_space.parameters)
    for name, (low, high) in bounds.items():
        parameters[name] = parameters[name].model_copy(update={"low": low, "high": high})
    return plan.model_copy(update={"search_space": Space(parameters)})


def digest_of(plan: StudyPlan) -> str:
    """Of everything in a plan that its bounds follow from: recipe, space, enqueued configs."""
    keys = {"recipe", "search_space", "enqueue"}
    # Without defaults, so that a setting that is added to this package changes nothing.
    facts = plan.model_dump(mode="json", include=keys, exclude_unset=True)
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions_of(facts: Mapping[str, Any]) -> list[LearningRates]:
    """The versions among the facts of a study, the newest last."""
    numbers = {
        int(key.removeprefix(_VERSION)): value
        for key, value in facts.items()
        if key.startswith(_VERSION)
    }
    return [LearningRates.from_plain(numbers[number]) for number in sorted(numbers)]


def find_version(plan: StudyPlan, facts: Mapping[str, Any]) -> LearningRates | None:
    """The newest version for a plan, with or without its bounds; None where it has none.

    Args:
        plan: The plan.
        facts: Of the study.
    """
    if not plan.search.range_test:
        return None
    digest = digest_of(plan)
    fitting = [one for one in versions_of(facts) if digest in (one.written, one.bounded)]
    return fitting[-1] if fitting else None


def next_key(facts: Mapping[str, Any]) -> str:
    """The key of the next version."""
    return f"{_VERSION}{len(versions_of(facts)) + 1}"


def key_of_test(family: str) -> str:
    """The key of the test of a family, by the family's digest."""
    return f"{_TEST}{family}"


def tests_of(facts: Mapping[str, Any]) -> dict[str, RatesTest]:
    """The tests among the facts of a study, by the digest of the family."""
    return {
        key.removeprefix(_TEST): RatesTest.from_plain(value)
        for key, value in facts.items()
        if key.startswith(_TEST)
    }
