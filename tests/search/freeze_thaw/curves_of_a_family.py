"""A family of learning curves whose ends are known."""

from __future__ import annotations

import numpy as np

from effv2_tune.search.freeze_thaw import History, Observation, Problem, Trial

RUNGS = (0.1, 0.22, 0.4)


def end_of(configs: np.ndarray) -> np.ndarray:
    """Quality at the end [m]: best at (0.7, 0.3), the second dimension matters less."""
    return 0.9 - 0.8 * (configs[:, 0] - 0.7) ** 2 - 0.1 * (configs[:, 1] - 0.3) ** 2


def quality_of(configs: np.ndarray, share: float) -> np.ndarray:
    """Exponential saturation [m], slower where the first dimension is small."""
    rate = 4 + 3 * configs[:, 0]
    return end_of(configs) * (1 - np.exp(-rate * share)) / (1 - np.exp(-rate))


def seconds_of(configs: np.ndarray) -> np.ndarray:
    """Of whole trainings [m]: the second dimension takes up to eight times as long."""
    return 100 * 8 ** configs[:, 1]


PROBLEM = Problem(2, seconds_of, RUNGS)


def history_of(configs: np.ndarray, rungs: list[int]) -> History:
    """Trials that reached a number of rungs each, four of them being the end."""
    stops = (*RUNGS, 1.0)
    states = {0: "running", 4: "complete"}
    trials = {
        number: Trial(tuple(config), float(seconds), states.get(reached, "paused"))
        for number, (config, seconds, reached) in enumerate(
            zip(configs.tolist(), seconds_of(configs), rungs, strict=True)
        )
    }
    observations = [
        Observation(number, share, float(quality_of(configs[[number]], share)[0]))
        for number, reached in enumerate(rungs)
        for share in stops[:reached]
    ]
    return History(trials, observations)
