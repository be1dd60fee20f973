"""A step time that trials contradict is measured again, and training seconds follow from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.search.restatement import (
    is_doubtful,
    next_version,
    with_intervals,
    with_newest_times,
    with_trials,
)
from effv2_tune.search.workload import BucketTime
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.step_time import StepTime
from effv2_tune.study.trial import Measurement, RungResult, Times, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = DataFacts(
    classes=10, image_shape=(8, 8, 1), train=1000, validation=100, test=100, digest="d" * 64
)
HERE = Placement(backend="jax", device_kind="cpu", device_count=1, precision="float32")
#: Ten epochs of ten steps.
RECIPE = Recipe(variant="tiny", batch_size=100, epochs=10)
BUCKET = bucket_key(RECIPE, DATA, HERE)


def bucket_time(seconds: float, **changes: Any) -> BucketTime:
    known: dict[str, Any] = {"low": 0.98 * seconds, "high": 1.02 * seconds}
    return BucketTime(label="tiny@8", step_seconds=seconds, **(known | changes))


def step_time(seconds: float, *, is_quiet: bool = True, error: float = 0.02) -> StepTime:
    return StepTime(
        seconds=seconds,
        low=(1 - error) * seconds,
        high=(1 + error) * seconds,
        is_quiet=is_quiet,
        reference_seconds=0.002,
    )


def half_width(time: BucketTime) -> float:
    """Half of the 90 % interval, relative."""
    assert time.low is not None
    assert time.high is not None
    return math.log(time.high / time.low) / 2


def trial(step_bucket: float = 0.1, number: int = 3, **times: float) -> Trial:
    rung = RungResult(rung=0, epoch=5, quality=0.4, projected_seconds=100 * step_bucket)
    return Trial(
        number=number,
        state="complete",
        config={},
        recipe=RECIPE,
        bucket=BUCKET,
        measurement=Measurement(quality=0.5, train_seconds=100 * step_bucket),
        rungs=(rung,),
        times=Times(step_bucket=step_bucket, **({"train": 10.0} | times)),
        notes=("its steps took 50% less than its bucket's", "a remark"),
    )


@pytest.mark.parametrize(
    ("times", "doubtful"),
    [
        ([], False),
        ([{"step_median": 0.095, "step_least": 0.09}], False),
        # A faster trial proves that the measurement was disturbed.
        (
            [{"step_median": 0.1, "step_least": 0.1}, {"step_median": 0.08, "step_least": 0.07}],
            True,
        ),
        # A slower one may have been disturbed itself, unless its fastest steps are slow, too.
        ([{"step_median": 0.2, "step_least": 0.1}], False),
        ([{"step_median": 0.2, "step_least": 0.12}], True),
        # The machine was slower, or faster, than the one that step times are stated for.
        ([{"step_median": 0.08, "step_least": 0.07, "speed": 1.25}], False),
        ([{"step_median": 0.1, "step_least": 0.1, "speed": 0.8}], True),
        ([{"step_median": 0.2, "step_least": 0.12, "speed": 0.8}], False),
        # An earlier version recorded no fastest steps.
        ([{"step_median": 0.2}], False),
    ],
)
def test_trials_of_a_bucket_are_evidence(
    times: Sequence[dict[str, float]], *, doubtful: bool
) -> None:
    assert is_doubtful(bucket_time(0.1), [trial(**one) for one in times]) is doubtful


def test_a_busy_machine_is_measured_again_but_not_for_ever() -> None:
    busy = bucket_time(0.1, is_quiet=False)
    slow, fast = trial(step_median=0.2, step_least=0.2), trial(step_median=0.05)

    assert is_doubtful(busy, [trial(step_median=0.1)])
    assert not is_doubtful(busy.model_copy(update={"measurements": 4}), [fast])
    twice = bucket_time(0.1, measurements=2)
    assert not is_doubtful(twice, [slow])
    assert is_doubtful(twice, [slow, fast])


def test_trials_that_are_shorter_than_a_measurement_give_no_reason_for_one() -> None:
    assert not is_doubtful(bucket_time(0.1), [trial(step_median=0.05, train=2.0)])
    assert not is_doubtful(bucket_time(0.1, is_quiet=False), [trial(step_median=0.1, train=2.0)])


def test_steps_that_are_next_to_nothing_beside_an_extraction_are_no_evidence() -> None:
    assert not is_doubtful(bucket_time(0.1, extraction_seconds=300.0), [trial(step_median=0.05)])


def test_measurements_that_agree_are_averaged_to_a_narrower_interval() -> None:
    known = bucket_time(0.1, extraction_seconds=3.0)

    both = next_version(known, step_time(0.101))

    assert both.step_seconds == pytest.approx(math.sqrt(0.1 * 0.101))
    assert half_width(both) == pytest.approx(half_width(known) / math.sqrt(2))
    assert (both.extraction_seconds, both.measurements) == (3.0, 2)


def test_of_two_measurements_the_more_precise_one_counts_for_more() -> None:
    both = next_version(bucket_time(0.1), step_time(0.11, error=0.2))

    assert 0.1 < both.step_seconds < 0.101


def test_a_measurement_that_contradicts_replaces_the_step_time_and_its_interval() -> None:
    known = bucket_time(0.2, extraction_seconds=3.0)

    assert next_version(known, step_time(0.1)) == bucket_time(
        0.1, extraction_seconds=3.0, measurements=2
    )


def test_measurements_that_differ_by_more_than_their_errors_have_a_wider_interval() -> None:
    known = bucket_time(0.1)

    both = next_version(known, step_time(0.104))

    assert both.low is not None
    assert both.high is not None
    assert both.low < 0.1
    assert both.high > 0.104
    assert half_width(both) > half_width(known)


@given(st.lists(st.floats(-0.02, 0.02), min_size=1, max_size=4))
def test_the_average_lies_among_the_measurements_and_in_its_interval(logs: list[float]) -> None:
    values = [0.1 * math.exp(one) for one in logs]
    time = bucket_time(values[0])
    for value in values[1:]:
        time = next_version(time, step_time(value))

    assert min(values) * 0.999 <= time.step_seconds <= max(values) * 1.001
    assert time.low is not None
    assert time.high is not None
    assert time.low < time.step_seconds < time.high
    assert time.measurements == len(values)


def test_a_quiet_measurement_replaces_one_of_a_busy_machine() -> None:
    busy = bucket_time(0.1, low=0.08, high=0.12, is_quiet=False)

    assert next_version(busy, step_time(0.095)).step_seconds == 0.095
    again = step_time(0.095, is_quiet=False, error=0.2)
    assert 0.095 < next_version(busy, again).step_seconds < 0.1


def test_a_busy_machine_does_not_overrule_a_quiet_one_within_its_own_error() -> None:
    again = step_time(0.115, is_quiet=False, error=0.2)

    assert next_version(bucket_time(0.1), again) == bucket_time(0.1, measurements=2)


def test_a_busy_machine_that_contradicts_a_quiet_one_leaves_the_step_time_doubtful() -> None:
    version = next_version(bucket_time(0.1), step_time(0.2, is_quiet=False, error=0.1))

    assert not version.is_quiet


def test_a_time_of_an_earlier_version_has_no_interval_and_is_averaged_all_the_same() -> None:
    known = BucketTime(label="tiny@8", step_seconds=0.1)

    assert 0.1 < next_version(known, step_time(0.103)).step_seconds < 0.103
    assert next_version(known, step_time(0.12)).measurements == 2


# The own steps of trials on a CPU.


def own_steps(seconds: float, number: int = 3, **times: Any) -> Trial:
    """A trial whose steps take so long on a quiet machine, of which they keep 1.6 processors."""
    seen = {
        "step_work": 1.6 * seconds,
        "step_undisturbed": seconds,
        "undisturbed": 50,
        "train": 30.0,
    }
    return trial(number=number, **(seen | times))


def measured(seconds: float, **changes: Any) -> BucketTime:
    """As on a CPU, in three seconds."""
    return bucket_time(seconds, **({"low": seconds / 1.14, "high": seconds * 1.14} | changes))


def test_half_a_minute_of_a_trials_steps_counts_for_more_than_three_seconds_of_measurement() -> (
    None
):
    ended = [own_steps(0.11)]

    version = with_trials(measured(0.1), ended, ended)

    assert 0.1085 < version.step_seconds < 0.11
    assert half_width(version) < 0.5 * half_width(measured(0.1))
    assert (version.measurements, version.trials) == (1, (3,))


def test_a_trial_counts_once() -> None:
    ended = [own_steps(0.11, number) for number in (3, 4)]
    once = with_trials(measured(0.1), ended[:1], ended)

    assert with_trials(once, ended[:1], ended) == once
    assert with_trials(once, [*ended[:1], own_steps(0.12, 5)], ended).trials == (3, 5)


def test_trials_are_compared_at_equal_speed() -> None:
    ended = [own_steps(0.12, speed=0.75)]

    assert with_trials(measured(0.1), ended, ended).step_seconds < 0.1


def test_what_changes_nothing_makes_no_new_version() -> None:
    ended = [own_steps(0.1, number) for number in range(40)]
    known = with_trials(measured(0.1), ended[:30], ended)

    assert with_trials(known, ended, ended) == known


def test_processor_time_tells_the_time_of_a_quiet_machine_by_a_trial_with_a_quiet_moment() -> None:
    busy = own_steps(0.11, 4, step_undisturbed=0.0, undisturbed=0)
    known = measured(0.2, low=0.1, high=0.3, is_quiet=False)

    assert with_trials(known, [busy], [busy]) == known
    both = [busy, own_steps(0.11, 5, undisturbed=1, train=4.0)]
    version = with_trials(known, both, both)
    assert version.step_seconds == pytest.approx(0.11)
    assert (version.is_quiet, version.trials) == (True, (4, 5))


def test_a_trial_without_a_quiet_moment_is_in_proportion_to_other_trials_of_its_variant() -> None:
    busy = own_steps(0.11, step_undisturbed=0.0, undisturbed=0)
    like = own_steps(0.5, 4)
    other = like.model_copy(update={"recipe": Recipe(variant="b0")})
    known = measured(0.2, low=0.1, high=0.3, is_quiet=False)

    assert with_trials(known, [busy], [busy, other]) == known
    assert with_trials(known, [busy], [busy, like]).step_seconds == pytest.approx(0.11, rel=0.03)


def test_the_quiet_moments_of_a_trial_count_and_not_its_processor_time() -> None:
    ended = [own_steps(0.11, step_work=0.15)]

    assert with_trials(measured(0.11), ended, ended).step_seconds == pytest.approx(0.11)


def test_of_a_trial_that_was_mostly_disturbed_the_less_counts_of_quiet_moments_and_work() -> None:
    # What it takes for undisturbed was not: its processor time says 0.11.
    few = own_steps(0.13, 5, step_work=1.6 * 0.11, undisturbed=2, step_median=0.3, train=4.0)
    both = [own_steps(0.11, 4), few]
    known = with_trials(measured(0.11), both[:1], both)

    assert with_trials(known, both, both).step_seconds == pytest.approx(0.11, rel=0.01)


def test_a_trial_that_contradicts_the_others_is_left_out_but_not_the_first_one() -> None:
    first = own_steps(0.15)
    known = with_trials(measured(0.1), [first], [first])
    both = [first, own_steps(0.3, 4)]

    assert known.step_seconds == pytest.approx(0.15)
    assert with_trials(known, both, both) == known


def test_short_trials_and_those_on_accelerators_tell_nothing_of_their_own() -> None:
    known = measured(0.1)
    for ended in (
        [own_steps(0.2, train=2.0)],
        [trial(step_median=0.2, step_least=0.2)],
    ):
        assert with_trials(known, ended, ended) == known


@given(st.lists(st.floats(0.098, 0.103), min_size=1, max_size=6))
def test_the_order_of_trials_that_agree_does_not_matter_much(seconds: list[float]) -> None:
    ended = [own_steps(one, number) for number, one in enumerate(seconds)]
    ahead = with_trials(measured(0.1), ended, ended)
    back = with_trials(measured(0.1), ended[::-1], ended)

    assert ahead.step_seconds == pytest.approx(back.step_seconds, rel=0.01)
    assert min(0.1, *seconds) * 0.999 <= ahead.step_seconds <= max(0.1, *seconds) * 1.001


def test_seconds_rungs_and_notes_follow_from_the_newest_version() -> None:
    times = {BUCKET.digest: [bucket_time(0.1), bucket_time(0.05)]}
    recorded = trial(step_median=0.05)

    (read,) = with_newest_times([recorded], times, DATA)

    assert read.measurement == Measurement(quality=0.5, train_seconds=5.0)
    assert [rung.projected_seconds for rung in read.rungs] == [5.0]
    assert read.times.step_bucket == 0.05
    assert read.notes == ("a remark",)


def test_seconds_have_the_interval_of_the_step_time_and_the_whole_extraction() -> None:
    time = bucket_time(0.1, extraction_seconds=30.0)

    (read,) = with_intervals([trial()], {BUCKET.digest: time}, DATA)

    assert read.measurement is not None
    ends = (read.measurement.seconds_low, read.measurement.seconds_high)
    assert ends == pytest.approx((39.8, 40.2))


def test_a_duplicate_has_the_seconds_of_the_newest_version_too() -> None:
    times = {BUCKET.digest: [bucket_time(0.1), bucket_time(0.05)]}
    duplicate = trial().model_copy(update={"times": Times(), "notes": ("duplicate of trial 2",)})

    (read,) = with_newest_times([duplicate], times, DATA)

    assert read.measurement is not None
    assert (read.measurement.train_seconds, read.times) == (5.0, Times())


def test_what_was_never_restated_is_read_as_it_was_recorded() -> None:
    recorded = trial(step_median=0.1)
    once = {BUCKET.digest: [BucketTime(label="tiny@8", step_seconds=0.1)]}

    assert with_newest_times([recorded], once, DATA) == [recorded]
    assert with_newest_times([recorded], {}, DATA) == [recorded]
    assert with_newest_times([recorded], once, None) == [recorded]
    unknown = {BUCKET.digest: BucketTime(label="tiny@8", step_seconds=0.1)}
    assert with_intervals([recorded], unknown, DATA) == [recorded]


def test_with_several_stages_the_seconds_follow_from_the_newest_version_of_each_bucket() -> None:
    recipe = RECIPE.with_settings(resolution=96, resolution_from=48, stages=2)
    small, large = (bucket_key(stage, DATA, HERE) for stage in recipe.stage_recipes())
    staged = trial().model_copy(
        update={"recipe": recipe, "bucket": large, "stage_buckets": (small,)}
    )
    times = {
        small.digest: [bucket_time(0.1), bucket_time(0.05)],
        large.digest: [bucket_time(0.2)],
        BUCKET.digest: [bucket_time(0.1)],
    }

    read, other = with_newest_times([staged, trial()], times, DATA)

    # Five epochs of ten steps each.
    assert read.measurement is not None
    assert read.measurement.train_seconds == pytest.approx(50 * 0.05 + 50 * 0.2)
    assert other == trial()
    newest = {digest: versions[-1] for digest, versions in times.items()}
    (read,) = with_intervals([read], newest, DATA)
    assert read.measurement is not None
    assert read.measurement.seconds_high == pytest.approx(1.02 * 12.5)
    unknown = newest | {small.digest: BucketTime(label="tiny@32", step_seconds=0.05)}
    (read,) = with_intervals([staged], unknown, DATA)
    assert read.measurement is not None
    assert read.measurement.seconds_high is None


def test_with_a_classifier_before_all_layers_the_extraction_is_part_of_the_seconds() -> None:
    recipe = RECIPE.with_settings(backbone="finetune", weights="imagenet", variant="b0")
    recipe = recipe.with_settings(head_epochs=4)
    head, layers = (bucket_key(part, DATA, HERE) for part in recipe.stage_recipes())
    staged = trial().model_copy(
        update={"recipe": recipe, "bucket": layers, "stage_buckets": (head,)}
    )
    before = bucket_time(0.001, extraction_seconds=7.0)
    times = {head.digest: [before, before.model_copy(update={"step_seconds": 0.002})]}
    times |= {layers.digest: [bucket_time(0.2)]}

    (read,) = with_newest_times([staged], times, DATA)

    assert read.measurement is not None
    assert read.measurement.train_seconds == pytest.approx(40 * 0.002 + 60 * 0.2 + 7)
