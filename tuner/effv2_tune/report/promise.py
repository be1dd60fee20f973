"""Describes in sentences whether a final training kept the promise of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.quantities import human_seconds, label_of

if TYPE_CHECKING:
    from effv2_tune.pareto.promise import Comparison, QualityDifference, SecondsDifference


def promise_sentences(comparison: Comparison) -> list[str]:
    """One sentence each for the test images, the validation images, and the seconds."""
    test = _quality(f"test {label_of(comparison.quality)}", comparison.test)
    return [test, _validation(comparison), _seconds(comparison)]


def _validation(comparison: Comparison) -> str:
    label = label_of(comparison.quality)
    if comparison.validation is None:
        return (
            f"no validation {label} compares: the validation images were trained on, and the "
            "estimate of the search is that of a training without them"
        )
    if comparison.is_reproduced:
        return (
            f"the validation {label} {comparison.validation.found:.4f} is the one that the search "
            "measured: the training was reproduced"
        )
    return _quality(f"validation {label}", comparison.validation)


def _quality(name: str, one: QualityDifference) -> str:
    side = "below" if one.standard_errors < 0 else "above"
    return (
        f"{_verdict(is_kept=one.is_kept)}: {name} {one.found:.4f} is {side} the expected "
        f"{one.expected:.4f} by {abs(one.standard_errors):.1f} standard errors of the difference "
        f"({one.standard_error:.4f})"
    )


def _seconds(comparison: Comparison) -> str:
    if comparison.seconds is None:
        return f"the seconds of the search do not compare ({comparison.other_device})"
    one = comparison.seconds
    deviation = _deviation(one)
    if one.is_expected:
        return f"{_verdict(is_kept=True)}: training took {deviation}"
    slower = one.excess > 0
    busier = "this machine" if slower else "the machine of the search"
    return (
        f"{_verdict(is_kept=not slower)}: training took {deviation}: {busier} was busier, or is "
        "another one"
    )


def _deviation(one: SecondsDifference) -> str:
    direction = "slower" if one.excess > 0 else "faster"
    text = (
        f"{human_seconds(one.found)}, {100 * abs(one.excess):.0f} % {direction} than the expected "
        f"{human_seconds(one.expected)}"
    )
    if one.steps_ratio != 1:
        text += f" (for {one.steps_ratio:.2f} times the steps of the search)"
    if one.low is None or one.high is None or one.standard_errors is None:
        return text
    place = "within" if one.is_expected else "outside"
    return (
        f"{text}, {place} the 90 % interval of {human_seconds(one.low)} to "
        f"{human_seconds(one.high)} ({abs(one.standard_errors):.1f} standard errors)"
    )


def _verdict(*, is_kept: bool) -> str:
    return "promise kept" if is_kept else "promise not kept"
