"""Runs Keras Tuner's own oracles in a subprocess, over its standard streams.

    python -m effv2_tune.interop.oracle_process

Importing Keras Tuner starts a Keras backend, and its oracles print: neither is for a supervisor.
Each input line is one JSON object; each ``ask`` produces one output line:

    {"begin": {"oracle": "random" | "bayesian", "space": {...}, "seed": 42, "minimize": false}}
    {"tell": {"number": 0, "config": {...}, "state": "running"}}
    {"tell": {"number": 0, "config": {...}, "state": "complete", "quality": 0.9, "seconds": 31.0}}
    {"forget": {"number": 0}}
    {"ask": {"number": 1}}                        ->  {"config": {...}} or {"exhausted": true}

``begin`` comes first; with ``minimize`` less quality is better. The process ends with its input.
The config of a trial depends on the seed, its number and the earlier ``tell`` lines: a new oracle
is created for each ask.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from effv2_tune.study.space import Config, Space

_STDOUT = 1


@dataclass(frozen=True)
class TrialReport:
    """The config and the result of a trial, as far as it is known.

    Attributes:
        config: Its config.
        state: ``running``, ``complete``, or ``worse``: finished without values, because it was
            pruned, diverged or infeasible.
        quality: Of a complete one.
        seconds: Of a complete one.
    """

    config: Config
    state: Literal["running", "complete", "worse"]
    quality: float = 0.0
    seconds: float = 0.0


@dataclass
class OracleSampler:
    """Samples configs from one of Keras Tuner's oracles.

    Attributes:
        oracle: ``random`` or ``bayesian``.
        space: The search space.
        seed: Of the study.
        minimize: Whether less quality is better.
        reports: Of the trials so far, by number.
    """

    oracle: Literal["random", "bayesian"]
    space: Space
    seed: int
    minimize: bool
    reports: dict[int, TrialReport] = field(default_factory=dict)
    _known: dict[int, Any] = field(default_factory=dict)

    def draw(self, number: int) -> Config | None:
        """Sample the config of trial ``number``; None if only duplicates are sampled.

        A trial without values counts as the worst of those with values.
        """
        from effv2_tune.interop.parameters import config_of_values
        from effv2_tune.search.engines.samplers import trial_seed

        # Keras Tuner treats a seed of 0 as none.
        oracle = self._new_oracle(trial_seed(self.seed, number) % (2**31) + 1)
        for trial in self._trials(number):
            oracle.trials[trial.trial_id] = trial
            oracle._record_values(trial)  # noqa: SLF001 - as end_trial does, without files
            if trial.status == "RUNNING":
                oracle.ongoing_trials[trial.trial_id] = trial
        values = oracle.populate_space(str(number))["values"]
        return None if values is None else config_of_values(values, self.space)

    def _new_oracle(self, seed: int) -> Any:
        import keras_tuner

        from effv2_tune.interop.parameters import to_hyperparameters

        kinds = {
            "random": keras_tuner.oracles.RandomSearchOracle,
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        }
        return kinds[self.oracle](
            objective=keras_tuner.Objective("loss", "min"),
            max_trials=None,
            seed=seed,
            hyperparameters=to_hyperparameters(self.space),
        )

    def _trials(self, number: int) -> Iterator[Any]:
        """The reported trials as Keras Tuner's, by number."""
        from keras_tuner.engine.trial import Trial

        losses = self._losses(number)
        worst = max(losses.values(), default=0.0)
        for other, report in sorted(self.reports.items()):
            status = "RUNNING" if report.state == "running" else "COMPLETED"
            trial = Trial(self._hyperparameters(other), trial_id=str(other), status=status)
            trial.score = losses.get(other, worst)
            yield trial

    def _hyperparameters(self, number: int) -> Any:
        """The hyperparameters of a reported trial, with its values; created once."""
        from effv2_tune.interop.parameters import to_hyperparameters, values_of_config

        if number not in self._known:
            hyperparameters = to_hyperparameters(self.space)
            hyperparameters.values = values_of_config(self.reports[number].config, self.space)
            self._known[number] = hyperparameters
        return self._known[number]

    def _losses(self, number: int) -> dict[int, float]:
        """Compute one loss for each complete trial, with the weights of trial ``number``."""
        from effv2_tune.interop.scalarisation import scalar_losses
        from effv2_tune.pareto.hypervolume import log_seconds

        complete = {key: one for key, one in self.reports.items() if one.state == "complete"}
        sign = 1.0 if self.minimize else -1.0
        points = [(sign * one.quality, log_seconds(one.seconds)) for one in complete.values()]
        losses = scalar_losses(points, seed=self.seed, number=number)
        return dict(zip(complete, losses, strict=True))


def responses(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the output to input lines of the protocol."""
    from effv2_tune.study.space import Space

    messages = map(json.loads, lines)
    begin = next(messages)["begin"]
    sampler = OracleSampler(
        oracle=begin["oracle"],
        space=Space.model_validate(begin["space"]),
        seed=begin["seed"],
        minimize=begin["minimize"],
    )
    for message in messages:
        if "tell" in message:
            report = dict(message["tell"])
            number = report.pop("number")
            sampler.reports[number] = TrialReport(**report)
        elif "forget" in message:
            sampler.reports.pop(message["forget"]["number"], None)
        else:
            config = sampler.draw(message["ask"]["number"])
            yield {"exhausted": True} if config is None else {"config": config}


def main() -> None:
    """Serve until the input ends."""
    with os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8") as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        for response in responses(sys.stdin):
            out.write(json.dumps(response) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
