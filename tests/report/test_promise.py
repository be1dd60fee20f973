"""What is said about a promise of the search."""

from __future__ import annotations

from effv2_tune.pareto.promise import Comparison, QualityDifference, SecondsDifference
from effv2_tune.report.promise import promise_sentences

BELOW = QualityDifference(
    expected=0.95, found=0.92, standard_error=0.013, standard_errors=-2.3, is_kept=False
)
ABOVE = QualityDifference(
    expected=0.95, found=0.96, standard_error=0.01, standard_errors=1.0, is_kept=True
)
SLOWER = SecondsDifference(
    expected=20.0,
    low=19.0,
    high=21.0,
    found=22.4,
    excess=0.12,
    standard_errors=3.7,
    is_expected=False,
)
COMPARISON = Comparison(
    quality="macro_f1",
    validation=ABOVE,
    test=BELOW,
    is_reproduced=False,
    seconds=SLOWER,
    other_device="",
)


def test_each_part_of_the_promise_has_its_sentence() -> None:
    test, validation, seconds = promise_sentences(COMPARISON)

    assert test == (
        "promise not kept: test macro f1 0.9200 is below the expected 0.9500 by 2.3 standard "
        "errors of the difference (0.0130)"
    )
    assert validation == (
        "promise kept: validation macro f1 0.9600 is above the expected 0.9500 by 1.0 standard "
        "errors of the difference (0.0100)"
    )
    assert seconds == (
        "promise not kept: training took 22 s, 12 % slower than the expected 20 s, outside the "
        "90 % interval of 19 s to 21 s (3.7 standard errors): this machine was busier, or is "
        "another one"
    )


def test_a_faster_training_keeps_the_promise_and_the_busy_machine_is_the_other_one() -> None:
    faster = SLOWER.model_copy(update={"found": 13.2, "excess": -0.34})

    *_, seconds = promise_sentences(COMPARISON.model_copy(update={"seconds": faster}))

    assert seconds.startswith("promise kept: training took 13 s, 34 % faster than the expected")
    assert seconds.endswith("the machine of the search was busier, or is another one")


def test_within_the_interval_no_machine_is_to_blame() -> None:
    near = SLOWER.model_copy(update={"found": 20.4, "excess": 0.02, "is_expected": True})

    *_, seconds = promise_sentences(COMPARISON.model_copy(update={"seconds": near}))

    assert "within the 90 % interval" in seconds
    assert "busier" not in seconds


def test_a_reproduced_training_and_another_device_are_said_to_be_that() -> None:
    elsewhere = COMPARISON.model_copy(
        update={"is_reproduced": True, "seconds": None, "other_device": "device: a then, b now"}
    )

    _, validation, seconds = promise_sentences(elsewhere)

    assert validation == (
        "the validation macro f1 0.9600 is the one that the search measured: the training was "
        "reproduced"
    )
    assert seconds == "the seconds of the search do not compare (device: a then, b now)"


def test_a_training_on_the_validation_images_has_no_validation_quality_and_more_steps() -> None:
    more = SLOWER.model_copy(update={"steps_ratio": 1.111})

    _, validation, seconds = promise_sentences(
        COMPARISON.model_copy(update={"validation": None, "seconds": more})
    )

    assert validation == (
        "no validation macro f1 compares: the validation images were trained on, and the estimate "
        "of the search is that of a training without them"
    )
    assert "the expected 20 s (for 1.11 times the steps of the search), outside" in seconds
