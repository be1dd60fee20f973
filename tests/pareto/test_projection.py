"""The projected training time."""

from __future__ import annotations

from effv2_tune.pareto import project_seconds, training_seconds


def test_seconds_are_steps_times_step_time_plus_extraction() -> None:
    assert training_seconds(1000, 0.02) == 20.0
    assert training_seconds(1000, 0.02, extraction_seconds=5.0) == 25.0
    assert project_seconds(30.0, epoch=3, epochs=10) == 100.0
