"""Trials and hosts whose steps deviate from the benchmark of their bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.report.timing_outliers import find_timing_outliers
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.study.trial import Trial


@pytest.fixture
def timed(trial_maker: Callable[..., Trial]) -> Callable[..., Trial]:
    def make(number: int, ratio: float, *, host: str = "here") -> Trial:
        trial = trial_maker(number, state="complete")
        assert trial.environment is not None
        times = trial.times.model_copy(update={"step_bucket": 0.1, "step_median": 0.1 * ratio})
        environment = trial.environment.model_copy(update={"host": host})
        return trial.model_copy(update={"times": times, "environment": environment})

    return make


def test_within_a_tenth_there_is_nothing_to_report(timed: Callable[..., Trial]) -> None:
    outliers = find_timing_outliers([timed(n, ratio) for n, ratio in enumerate((0.92, 1.0, 1.08))])

    assert (outliers.trials, outliers.machines) == ((), {})
    assert outliers.sentences() == []


def test_slower_steps_mean_load_now(timed: Callable[..., Trial]) -> None:
    outliers = find_timing_outliers([timed(n, 1.22) for n in range(3)])

    assert outliers.sentences() == [
        (
            "On here, steps took 22% more time than benchmarked (median of its trials): the host "
            "is under load."
        ),
        (
            "The step time of 3 trials (0, 1, 2) deviates by more than 10% from the one "
            "benchmarked; training times use the step time benchmarked for the bucket."
        ),
    ]


def test_faster_steps_mean_load_during_the_benchmark(timed: Callable[..., Trial]) -> None:
    sentence, _ = find_timing_outliers([timed(n, 0.78) for n in range(3)]).sentences()

    assert sentence == (
        "On here, steps took 22% less time than benchmarked (median of its trials): the host was "
        "under load when the bucket was benchmarked."
    )


def test_only_among_several_hosts_another_one_may_have_been_benchmarked(
    timed: Callable[..., Trial],
) -> None:
    trials = [timed(n, 1.5, host="slow") for n in range(3)] + [timed(9, 1.0, host="other")]

    sentence, _ = find_timing_outliers(trials).sentences()

    assert sentence.startswith("On slow, steps took 50% more time")
    assert sentence.endswith("the host is under load, or another host was benchmarked.")


def test_a_host_with_few_trials_is_not_judged(timed: Callable[..., Trial]) -> None:
    outliers = find_timing_outliers([timed(n, 1.5) for n in range(2)])

    assert outliers.machines == {}
    assert outliers.trials == (0, 1)


def test_steps_do_not_matter_where_extraction_is_nearly_all_of_the_training_time(
    timed: Callable[..., Trial],
) -> None:
    recipe = Recipe(variant="b0", backbone="frozen", weights="imagenet", epochs=10)
    trial = timed(0, 0.41)
    times = trial.times.model_copy(update={"train": 0.5})
    frozen = trial.model_copy(update={"recipe": recipe, "times": times, "curve": trial.curve[:5]})

    def outliers(seconds: float) -> tuple[int, ...]:
        measurement = Measurement(quality=0.9, train_seconds=seconds)
        return find_timing_outliers([frozen.model_copy(update={"measurement": measurement})]).trials

    # Half the epochs took half a second: the steps of all are one second.
    assert outliers(10.1) == ()
    assert outliers(9.9) == (0,)
