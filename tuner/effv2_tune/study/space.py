"""Defines the search space: hyperparameters with their ranges, choices and conditions."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, RootModel, model_validator

from effv2_tune.errors import TuneError
from effv2_tune.study.base import Value
from effv2_tune.study.limits import MAX_CHOICES, MAX_COMBINATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Scalar = bool | int | float | str | None
#: One value for each active parameter of the search space.
Config = dict[str, Any]

#: Pairs of which the first must not exceed the second in any config.
ORDERED_PAIRS = (("initial_learning_rate", "maximal_learning_rate"),)
#: Suffix of the dimension that represents a parameter bounded by another one.
POSITION = "_position"


class _Parameter(Value):
    """The common fields of all kinds of parameter.

    Attributes:
        when: Values of other parameters for which this one is active; always, if left out.
        reason: Why this range.
    """

    when: dict[str, Scalar | list[Scalar]] | None = None
    reason: str | None = None

    @property
    def conditions(self) -> dict[str, list[Scalar]]:
        """For each parameter on which this one depends, the values that activate it."""
        conditions = (self.when or {}).items()
        return {
            name: wanted if isinstance(wanted, list) else [wanted] for name, wanted in conditions
        }

    def is_active(self, config: Mapping[str, Any]) -> bool:
        """Whether ``config`` has the values that activate this parameter."""
        return self.when is None or all(
            name in config and _is_in(config[name], wanted)
            for name, wanted in self.conditions.items()
        )

    def allows(self, parent: str, value: Any) -> bool:
        """Whether a value of a parameter on which this one depends can activate it."""
        return _is_in(value, self.conditions[parent])


class Prior(Value):
    """A value that is expected to be good, until the trials of the study say otherwise.

    Attributes:
        value: Inside the range, or one of the choices.
        confidence: How sure it is: how much better the value is expected to be, and how soon values
            are worse with their distance from it.
    """

    value: Scalar | dict[str, int]
    confidence: Literal["low", "medium", "high"] = "medium"


class FloatParameter(_Parameter):
    """A real number between two bounds, sampled on a linear or a logarithmic scale."""

    type: Literal["float"]
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    prior: Prior | None = None

    @model_validator(mode="after")
    def _has_a_range(self) -> FloatParameter:
        _check_range(self.low, self.high, self.scale)
        _check_prior(self)
        return self

    def clip(self, value: float) -> float:
        """``value``, clipped to the bounds, which rounding may have exceeded."""
        return min(max(value, self.low), self.high)


class IntParameter(_Parameter):
    """A whole number between two bounds, both included."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1
    scale: Literal["linear", "log"] = "linear"
    prior: Prior | None = None

    @model_validator(mode="after")
    def _has_a_range(self) -> IntParameter:
        _check_range(self.low, self.high, self.scale)
        if self.scale == "log" and self.step != 1:
            raise ValueError("a logarithmic scale cannot have a step; remove one of the two")
        if (self.high - self.low) % self.step:
            below = self.high - (self.high - self.low) % self.step
            raise ValueError(
                f"high {self.high} is not a whole number of steps of {self.step} above low "
                f"{self.low}; use high {below}"
            )
        _check_prior(self)
        return self


class ChoiceParameter(_Parameter):
    """One of a list of values, without order."""

    type: Literal["choice"]
    values: Annotated[list[Scalar | dict[str, int]], Field(min_length=1, max_length=MAX_CHOICES)]
    prior: Prior | None = None

    @property
    def is_on_a_line(self) -> bool:
        """Whether its values are points of one axis: all are numbers, or there are two."""
        are_numbers = all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in self.values
        )
        return are_numbers or len(self.values) <= 2  # noqa: PLR2004 - in any order

    @model_validator(mode="after")
    def _has_no_duplicates(self) -> ChoiceParameter:
        labels: set[str] = set()
        for value in self.values:
            label = repr(value)
            if label in labels:
                raise ValueError(f"the value {label} is listed twice; remove one")
            labels.add(label)
        _check_prior(self)
        return self


class FixedParameter(_Parameter):
    """One value, listed in the space for documentation, and not searched."""

    type: Literal["fixed"]
    value: Scalar | dict[str, int]


Parameter = Annotated[
    FloatParameter | IntParameter | ChoiceParameter | FixedParameter, Field(discriminator="type")
]


@dataclass(frozen=True)
class Dimension:
    """One axis that a sampler samples from.

    Attributes:
        name: Name for the sampler: mostly the parameter's name; ``<name>_position`` where the
            parameter's upper bound is another parameter's value, in which case the axis runs from
            0 (its lower bound) to 1 (the smaller of its upper bound and that value).
        parameter: Its range or choices, and the conditions on which it is sampled.
    """

    name: str
    parameter: FloatParameter | IntParameter | ChoiceParameter


class Space(RootModel[dict[str, Parameter]]):
    """A search space: parameters by name, in written order."""

    @model_validator(mode="after")
    def _has_parents(self) -> Space:
        for name, parameter in self.root.items():
            for parent in parameter.when or {}:
                if parent not in self.root:
                    raise ValueError(
                        f"{name} depends on {parent!r} ('when'), which is not in the search space"
                    )
                if isinstance(self.root[parent], FloatParameter):
                    raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors
                        f"{name} cannot depend on {parent}, which is a real number"
                    )
        _parents_first(self.root)
        for lower, upper in ORDERED_PAIRS:
            _check_pair(self.root.get(lower), self.root.get(upper), lower, upper)
            if lower in self.priors and _overlap(self.root[lower], self.root.get(upper)):
                raise ValueError(
                    f"{lower} cannot have a prior while its range overlaps that of {upper}: which "
                    f"values it may have depends on {upper}; end its range at the lowest {upper}, "
                    "or remove the prior"
                )
        return self

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name."""
        return self.root

    @property
    def priors(self) -> dict[str, Prior]:
        """What is expected of parameters, by their names."""
        found = {
            name: None if isinstance(one, FixedParameter) else one.prior
            for name, one in self.root.items()
        }
        return {name: prior for name, prior in found.items() if prior is not None}

    @functools.cached_property
    def parents_first(self) -> tuple[str, ...]:
        """Names in written order, but each after those that its ``when`` names."""
        return tuple(_parents_first(self.root))

    def dimensions(self) -> tuple[Dimension, ...]:
        """The axes to sample from, each after those that it depends on; fixed ones have none."""
        bounded = {
            lower
            for lower, upper in ORDERED_PAIRS
            if _overlap(self.root.get(lower), self.root.get(upper))
        }
        axes = []
        for name in self.parents_first:
            parameter = self.root[name]
            if isinstance(parameter, FixedParameter):
                continue
            if name in bounded:
                position = FloatParameter(type="float", low=0.0, high=1.0, when=parameter.when)
                axes.append(Dimension(name + POSITION, position))
            else:
                axes.append(Dimension(name, parameter))
        return tuple(axes)

    def decode(self, sampled: Mapping[str, Any]) -> Config:
        """The config of values sampled from :meth:`dimensions`.

        Fixed parameters are filled in; inactive ones are absent.
        """
        config: Config = {}
        for name in self.parents_first:
            parameter = self.root[name]
            if parameter.when is not None and not parameter.is_active(config):
                continue
            if isinstance(parameter, FixedParameter):
                config[name] = parameter.value
            elif name in sampled:
                config[name] = sampled[name]
        for lower, upper in ORDERED_PAIRS:
            if lower + POSITION in sampled:
                parameter = self.root[lower]
                if not isinstance(parameter, FloatParameter):  # dimensions() gives no others
                    raise TypeError(parameter)
                high = min(parameter.high, config.get(upper, parameter.high))
                config[lower] = _at(parameter, high, sampled[lower + POSITION])
        return {name: config[name] for name in self.root if name in config}

    def encode(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The sampled values that give ``config``: the inverse of :meth:`decode`.

        Raises:
            ValueError: ``config`` is outside this space.
        """
        sampled: dict[str, Any] = {}
        for dimension in self.dimensions():
            name = dimension.name.removesuffix(POSITION)
            if not dimension.parameter.is_active(config):
                continue
            if name not in config:
                raise ValueError(f"the config has no {name}")
            parameter = self.root[name]
            if not contains(parameter, config[name]):
                raise ValueError(f"{name} {config[name]!r} is outside the space")
            if name == dimension.name:
                sampled[name] = config[name]
            else:
                upper = dict(ORDERED_PAIRS)[name]
                high = min(parameter.high, config.get(upper, parameter.high))  # type: ignore[union-attr]
                sampled[dimension.name] = _position(parameter, high, config[name])  # type: ignore[arg-type]
        return sampled

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Whether ``config`` could have been sampled from this space."""
        try:
            again = self.decode(self.encode(config))
        except ValueError:
            return False
        return again.keys() == dict(config).keys() and all(
            _is_same(again[name], config[name]) for name in again
        )


def contains(parameter: Parameter, value: Any) -> bool:
    """Whether ``value`` is in the range of ``parameter``."""
    if isinstance(parameter, FixedParameter):
        return _is_same(parameter.value, value)
    if isinstance(parameter, ChoiceParameter):
        return _is_in(value, parameter.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(parameter, IntParameter):
        whole = isinstance(value, int) or float(value).is_integer()
        on_step = whole and (value - parameter.low) % parameter.step == 0
        return on_step and parameter.low <= value <= parameter.high
    return parameter.low <= value <= parameter.high


def values_of(parameter: Parameter) -> Iterator[Any]:
    """Representative values of a parameter: all of a choice, the bounds of a range."""
    if isinstance(parameter, ChoiceParameter):
        yield from parameter.values
    elif isinstance(parameter, FixedParameter):
        yield parameter.value
    else:
        yield parameter.low
        yield parameter.high


def combinations(choices: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of some parameters' values.

    Raises:
        TuneError: They are more than can be checked.
    """
    count = math.prod(len(values) for values in choices.values())
    if count > MAX_COMBINATIONS:
        raise TuneError(
            f"search_space: {', '.join(choices)} have {count:,} combinations of values, of which "
            f"each is checked; use at most {MAX_COMBINATIONS:,}."
        )
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _check_range(low: float, high: float, scale: str) -> None:
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}; swap them")
    if low == high:
        raise ValueError(f"low and high are both {low:g}; write {{type: fixed, value: {low:g}}}")
    if scale == "log" and low <= 0:
        raise ValueError(f"the low bound of a logarithmic scale must be above 0, not {low:g}")


def _check_prior(parameter: FloatParameter | IntParameter | ChoiceParameter) -> None:
    prior = parameter.prior
    if prior is None or contains(parameter, prior.value):
        return
    wanted = "one of the values"
    if not isinstance(parameter, ChoiceParameter):
        step = f", on a step of {parameter.step}" if isinstance(parameter, IntParameter) else ""
        wanted = f"a number from {parameter.low:g} to {parameter.high:g}{step}"
    raise ValueError(f"the prior {prior.value!r} has to be {wanted}")


def _parents_first(parameters: Mapping[str, Parameter]) -> list[str]:
    """Names in written order, but each after those that its ``when`` names."""
    order: list[str] = []
    waiting = list(parameters)
    while waiting:
        ready = next(
            (n for n in waiting if all(p in order for p in parameters[n].when or {})), None
        )
        if ready is None:
            raise ValueError(f"the conditions of {', '.join(waiting)} are circular")
        order.append(ready)
        waiting.remove(ready)
    return order


def _check_pair(lower: Any, upper: Any, lower_name: str, upper_name: str) -> None:
    if lower is None or upper is None:
        return
    least = min(_numeric_values(lower), default=-math.inf)
    greatest = min(_numeric_values(upper), default=math.inf)
    if least > greatest:
        raise ValueError(
            f"{lower_name} starts at {least:g}, above the lowest {upper_name} {greatest:g}; "
            f"it may not exceed it"
        )
    if isinstance(lower, FloatParameter) or max(_numeric_values(lower)) <= greatest:
        return
    raise ValueError(
        f"{lower_name} reaches {max(_numeric_values(lower)):g}, above the lowest {upper_name} "
        f"{greatest:g}; search it as a 'float' range, which is then clipped at {upper_name}"
    )


def _numeric_values(parameter: Any) -> list[float]:
    return [float(v) for v in values_of(parameter) if isinstance(v, int | float)]


def _overlap(lower: Any, upper: Any) -> bool:
    """Whether some value of ``lower`` could exceed some value of ``upper``."""
    if not isinstance(lower, FloatParameter) or upper is None:
        return False
    return lower.high > min(_numeric_values(upper), default=math.inf)


def _at(parameter: FloatParameter, high: float, position: float) -> float:
    """The value at ``position`` from 0 (``parameter.low``) to 1 (``high``), on its scale."""
    if parameter.scale == "log":
        span = math.log(high) - math.log(parameter.low)
        value = math.exp(math.log(parameter.low) + position * span)
    else:
        value = parameter.low + position * (high - parameter.low)
    return min(max(value, parameter.low), high)


def _position(parameter: FloatParameter, high: float, value: float) -> float:
    """The inverse of :func:`_at`."""
    if high <= parameter.low:
        return 0.0
    if parameter.scale == "log":
        share = math.log(value / parameter.low) / math.log(high / parameter.low)
    else:
        share = (value - parameter.low) / (high - parameter.low)
    return min(max(share, 0.0), 1.0)


def _is_in(value: Any, values: Any) -> bool:
    return any(_is_same(value, other) for other in values)


def _is_same(one: Any, other: Any) -> bool:
    """Equality in which ``True`` is not ``1`` and a logarithm's rounding is forgiven."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
