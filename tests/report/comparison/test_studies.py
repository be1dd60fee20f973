"""Studies compared: fronts, hypervolumes with one reference, and what cannot be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.pareto import hypervolume
from effv2_tune.report.analysis import analyse
from effv2_tune.report.comparison.studies import compare
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.input import ReportInput


@pytest.fixture
def make(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> Callable[..., Analysis]:
    def made(name: str, *, seed: int = 1, device: str = "NVIDIA H200", **more: object) -> Analysis:
        trials = tuple(trial_maker(n, seed=seed, device=device) for n in range(30))
        return analyse(study_maker(trials=trials, name=name, **more))

    return made


def measured(number: int, quality: float, seconds: float) -> Trial:
    measurement = Measurement(quality=quality, train_seconds=seconds)
    return Trial(number=number, state="complete", config={"x": number}, measurement=measurement)


def test_hypervolumes_have_one_reference_and_the_joint_front_has_the_largest(
    make: Callable[..., Analysis],
) -> None:
    compared = compare([make("a"), make("b", seed=2)])

    (device,) = compared.devices
    assert [one.label for one in device.members] == ["a", "b"]
    for one in device.members:
        points = [
            Measurement(
                quality=one.device.qualities[t.number], train_seconds=t.measurement.train_seconds
            )
            for t in one.device.front
            if t.measurement is not None
        ]
        assert one.hypervolume == pytest.approx(hypervolume(points, device.reference))
        assert 0 < one.share <= 1
        assert one.growth[-1].share == pytest.approx(one.share)
        shares = [each.share for each in one.growth]
        assert shares == sorted(shares)
    assert compared.warnings == ()


def test_a_study_that_is_better_everywhere_has_the_whole_joint_front(
    study_maker: Callable[..., ReportInput],
) -> None:
    good = study_maker(trials=(measured(0, 0.9, 10), measured(1, 0.95, 20)), name="good")
    poor = study_maker(trials=(measured(0, 0.8, 11), measured(1, 0.85, 30)), name="poor")

    (device,) = compare([analyse(poor), analyse(good)]).devices

    shares = {one.label: one.share for one in device.members}
    assert shares["good"] == pytest.approx(1)
    assert shares["poor"] < 1
    assert {one.label: len(one.joint) for one in device.members} == {"good": 2, "poor": 0}


def test_studies_of_the_same_name_are_told_apart_by_their_folders(
    make: Callable[..., Analysis], study_maker: Callable[..., ReportInput]
) -> None:
    first = make("a")
    other = analyse(study_maker(20, name="a").model_copy(update={"folder": "runs/again"}))

    assert compare([first, other]).labels == ("a (a)", "a (again)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "b", "quality": "loss"}, "different objectives"),
        ({"name": "b", "device": "TPU v5 lite"}, "no kind of device in common"),
        ({"name": "a"}, "named twice"),
    ],
)
def test_what_cannot_be_compared_is_an_error_message(
    make: Callable[..., Analysis], changes: dict[str, str], words: str
) -> None:
    with pytest.raises(TuneError, match=words) as caught:
        compare([make("a"), make(**changes)])

    assert caught.value.hint


def test_a_study_without_a_complete_trial_has_no_front_to_compare(
    make: Callable[..., Analysis], study_maker: Callable[..., ReportInput]
) -> None:
    with pytest.raises(TuneError, match="runs/empty has no complete trial yet"):
        compare([make("a"), analyse(study_maker(trials=(), name="empty"))])


def test_more_studies_than_can_be_told_apart_are_refused(make: Callable[..., Analysis]) -> None:
    with pytest.raises(TuneError, match="7 studies are too many"):
        compare([make(str(number)) for number in range(7)])


def test_trials_on_a_device_of_one_study_alone_are_left_out_with_a_warning(
    make: Callable[..., Analysis],
    study_maker: Callable[..., ReportInput],
    trial_maker: Callable[..., Trial],
) -> None:
    trials = [
        trial_maker(number, device="TPU v5 lite" if number % 2 else "NVIDIA H200", state="complete")
        for number in range(8)
    ]
    both = analyse(study_maker(trials=tuple(trials), name="both"))

    compared = compare([make("a"), both])

    assert [device.device for device in compared.devices] == ["NVIDIA H200"]
    (warning,) = compared.warnings
    assert warning.startswith("Trials of both on TPU v5 lite are left out")


def test_other_images_are_a_warning(make: Callable[..., Analysis]) -> None:
    compared = compare([make("a", digest="1" * 16), make("b", seed=2, digest="2" * 16)])

    assert "different images or splits" in compared.warnings[0]
