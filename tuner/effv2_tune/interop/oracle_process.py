"""Keras Tuner's own oracles in a process of their own, asked over its standard streams.

    python -m effv2_tune.interop.oracle_process

Importing Keras Tuner starts a Keras backend, and its oracles print: neither is for a supervisor.
Each line that comes in is one JSON object, and each ``ask`` is answered by one line:

    {"begin": {"oracle": "random" | "bayesian", "space": {...}, "seed": 42, "minimize": false}}
    {"tell": {"number": 0, "config": {...}, "state": "running"}}
    {"tell": {"number": 0, "config": {...}, "state": "complete", "quality": 0.9, "seconds": 31.0}}
    {"forget": {"number": 0}}
    {"ask": {"number": 1}}                        ->  {"config": {...}} or {"exhausted": true}

``begin`` comes first; ``minimize`` says whether less quality is better. The process ends with its
input. What a trial is given depends on the seed, its number, and what was told before: the oracle
is made anew for each ask.
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
class Told:
    """What became of a trial, as far as it is known.

    Attributes:
        config: What it tried.
        state: ``running``, ``complete``, or ``worse``: ended without values, because it was
            stopped, diverged or did not fit.
        quality: Of a complete one.
        seconds: Of a complete one.
    """

    config: Config
    state: Literal["running", "complete", "worse"]
    quality: float = 0.0
    seconds: float = 0.0


@dataclass
class OracleDrawer:
    """Draws configs from one of Keras Tuner's oracles.

    Attributes:
        oracle: ``random`` or ``bayesian``.
        space: What is searched.
        seed: Of the study.
        minimize: Whether less quality is better.
        told: What was told so far, by number.
    """

    oracle: Literal["random", "bayesian"]
    space: Space
    seed: int
    minimize: bool
    told: dict[int, Told] = field(default_factory=dict)
    _known: dict[int, Any] = field(default_factory=dict)

    def draw(self, number: int) -> Config | None:
        """The config of trial ``number``; None where all that comes was tried before.

        A trial that ended without values counts as bad as the worst that has some.
        """
        from effv2_tune.interop.parameters import config_of_values
        from effv2_tune.search.engines.samplers import trial_seed

        # Keras Tuner takes a seed of 0 for none.
        oracle = self._new_oracle(trial_seed(self.seed, number) % (2**31) + 1)
        for trial in self._trials(number):
            oracle.trials[trial.trial_id] = trial
            oracle._record_values(trial)  # noqa: SLF001 - what end_trial does, without files
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
        """What was told, as Keras Tuner's trials, in the order of their numbers."""
        from keras_tuner.engine.trial import Trial

        losses = self._losses(number)
        worst = max(losses.values(), default=0.0)
        for its, told in sorted(self.told.items()):
            status = "RUNNING" if told.state == "running" else "COMPLETED"
            trial = Trial(self._hyperparameters(its), trial_id=str(its), status=status)
            trial.score = losses.get(its, worst)
            yield trial

    def _hyperparameters(self, number: int) -> Any:
        """Those of a told trial, with its values; made once."""
        from effv2_tune.interop.parameters import to_hyperparameters, values_of_config

        if number not in self._known:
            hyperparameters = to_hyperparameters(self.space)
            hyperparameters.values = values_of_config(self.told[number].config, self.space)
            self._known[number] = hyperparameters
        return self._known[number]

    def _losses(self, number: int) -> dict[int, float]:
        """One loss for each complete trial, with the weights of trial ``number``."""
        from effv2_tune.interop.scalarisation import scalar_losses
        from effv2_tune.pareto.hypervolume import log_seconds

        complete = {its: told for its, told in self.told.items() if told.state == "complete"}
        sign = 1.0 if self.minimize else -1.0
        points = [(sign * told.quality, log_seconds(told.seconds)) for told in complete.values()]
        losses = scalar_losses(points, seed=self.seed, number=number)
        return dict(zip(complete, losses, strict=True))


def answers(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What is answered to lines of the protocol."""
    from effv2_tune.study.space import Space

    messages = map(json.loads, lines)
    begin = next(messages)["begin"]
    drawer = OracleDrawer(
        oracle=begin["oracle"],
        space=Space.model_validate(begin["space"]),
        seed=begin["seed"],
        minimize=begin["minimize"],
    )
    for message in messages:
        if "tell" in message:
            number, told = message["tell"]["number"], dict(message["tell"])
            del told["number"]
            drawer.told[number] = Told(**told)
        elif "forget" in message:
            drawer.told.pop(message["forget"]["number"], None)
        else:
            config = drawer.draw(message["ask"]["number"])
            yield {"exhausted": True} if config is None else {"config": config}


def main() -> None:
    """Answer until the input ends."""
    with os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8") as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        for answer in answers(sys.stdin):
            out.write(json.dumps(answer) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
