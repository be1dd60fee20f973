"""The sentences that describe a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.text import (
    certainty_sentences,
    front_sentence,
    search_sentence,
    state_sentence,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_the_first_sentences_give_search_space_device_and_counts(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(trial_maker(n, state="pruned" if n else "complete") for n in range(3))
    analysis = analyse(study_maker(trials=trials))

    assert search_sentence(analysis).startswith("3 trials over variant, resolution")
    assert "on NVIDIA H200" in search_sentence(analysis)
    assert state_sentence(analysis) == "1 complete and 2 stopped early."
    assert front_sentence(analysis, analysis.devices[0]).startswith("1 trial of 1 complete is on")


def test_a_study_without_trials_has_a_sentence_too(study_maker: Callable[..., ReportInput]) -> None:
    analysis = analyse(study_maker(trials=()))

    assert search_sentence(analysis) == "Nothing has been tried yet."
    assert analysis.devices == ()


def test_the_sentences_say_how_sure_the_front_is(study_maker: Callable[..., ReportInput]) -> None:
    analysis = analyse(study_maker(40, validation=500))
    (device,) = analysis.devices

    columns, possible = certainty_sentences(device)

    assert columns.startswith("The front is that of the measured values.")
    assert all(str(trial.number) in possible for trial in device.possible)
    assert certainty_sentences(analyse(study_maker(40)).devices[0]) == []
