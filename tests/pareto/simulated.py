"""Simulated studies with known true qualities, for the tests of estimates and probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto import COMMON_SHARE, SEED_SHARE, Candidate, binomial_error

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 400


@dataclass(frozen=True)
class SimulatedStudy:
    """The candidates of a study, and what is true of them."""

    candidates: list[Candidate]
    qualities: np.ndarray
    seconds: np.ndarray

    def raw(self) -> np.ndarray:
        return np.array([candidate.mean for candidate in self.candidates])


def candidate(
    *qualities: float, error: float = 0.01, seconds: float = 1.0, spread: float = 1.0
) -> Candidate:
    """A candidate whose 90 % interval of seconds reaches from 1 / spread to spread times them."""
    return Candidate(qualities, error, seconds, seconds / spread, seconds * spread)


def simulated_studies(
    studies: int, *, replicates: int = 1, seed_ratio: float = 1.0, configs: int = 30
) -> Iterator[SimulatedStudy]:
    """Studies whose configs are skewed: most within a standard error of the best, some far worse.

    Args:
        studies: How many.
        replicates: Trainings of each config.
        seed_ratio: Variance between seeds, in units of the binomial expectation.
        configs: In a study.
    """
    rng = np.random.default_rng(7)
    for _ in range(studies):
        scale = np.where(rng.random(configs) < 0.7, 0.008, 0.1)
        true = np.clip(0.95 - rng.exponential(scale), 0.2, 1.0)
        variance = true * (1 - true) / IMAGES
        images = math.sqrt(COMMON_SHARE) * rng.standard_normal()
        images = images + math.sqrt(1 - SEED_SHARE - COMMON_SHARE) * rng.standard_normal(configs)
        seeds = rng.standard_normal((replicates, configs)) * math.sqrt(SEED_SHARE * seed_ratio)
        measured = np.clip(true + np.sqrt(variance) * (images + seeds), 0, 1)
        seconds = rng.uniform(10, 100, configs)
        reported = seconds * np.exp(0.03 * rng.standard_normal(configs))
        yield SimulatedStudy(
            [
                candidate(
                    *map(float, measured[:, k]),
                    error=binomial_error(float(measured[:, k].mean()), IMAGES),
                    seconds=float(reported[k]),
                    spread=math.exp(0.03 * 1.645),
                )
                for k in range(configs)
            ],
            true,
            seconds,
        )


def simulated_accuracies(number: int, configs: int = 30, spread: float = 0.026) -> np.ndarray:
    """True accuracies [configs], normal around 0.38.

    Args:
        number: Of the simulation.
        configs: How many.
        spread: Their standard deviation.
    """
    return 0.38 + spread * np.random.default_rng(number).standard_normal(configs)


def simulated_trainings(
    *,
    configs: int = 30,
    seeds: int = 30,
    blocks: int = 20,
    spread: float = 0.026,
    own: float = 0.0,
    together: float = 0.0,
    number: int = 0,
) -> np.ndarray:
    """Correct images of each block of 500 [configs, seeds, blocks], of the model of the estimates.

    Args:
        configs: With the `simulated_accuracies` of that number.
        seeds: All configs are trained with the same.
        blocks: Of images, which all trainings share.
        spread: Standard deviation of the configs' true accuracies.
        own: That of a seed's effect on the true accuracy of one config.
        together: That of a seed's effect on the true accuracies of all configs.
        number: Of the simulation.
    """
    rng = np.random.default_rng([number, 1])
    true = simulated_accuracies(number, configs, spread)[:, None, None]
    true = true + together * rng.standard_normal((1, seeds, 1))
    true = true + own * rng.standard_normal((configs, seeds, 1))
    noise = math.sqrt(COMMON_SHARE) * rng.standard_normal((1, 1, blocks))
    config_share = 1 - SEED_SHARE - COMMON_SHARE
    noise = noise + math.sqrt(config_share) * rng.standard_normal((configs, 1, blocks))
    noise = noise + math.sqrt(SEED_SHARE) * rng.standard_normal((configs, seeds, blocks))
    return np.clip(np.round(500 * true + np.sqrt(500 * true * (1 - true)) * noise), 0, 500)
