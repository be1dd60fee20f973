"""Proposes configs with Keras Tuner's oracles, which run in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.engines.base import Exhausted, begin_trial, position
from effv2_tune.search.engines.distributions import config_of_params, params_of_config
from effv2_tune.search.engines.sampler_view import ExpectedOutcomes
from effv2_tune.search.storage.records import REPLICATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.trial import FrozenTrial

    from effv2_tune.search.engines.base import Asked
    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.study.space import Config, Space

OracleName = Literal["random", "bayesian"]
#: The oracle of each engine that a study can name.
KERAS_TUNER_ENGINES: Mapping[str, OracleName] = {
    "keras_tuner_random": "random",
    "keras_tuner_bayesian": "bayesian",
}
#: A command, not an import: Keras Tuner starts a Keras backend, which the supervisor never does.
ORACLE_COMMAND = (sys.executable, "-m", "effv2_tune.interop.oracle_process")
_SHUTDOWN_GRACE_SECONDS = 10.0
_TAIL_LINES = 12


class KerasTunerEngine:
    """Proposes configs with one of Keras Tuner's oracles, which have a single objective.

    Quality and log seconds are scalarised with new weights for each trial, from (seed, number): by
    the augmented Chebyshev loss of :mod:`effv2_tune.interop.scalarisation`, not Keras Tuner's sum
    of objectives. A trial that ended without values has the worst loss; a failed one has none.

    The process of the oracle sees no devices. It starts at the first ask, receives the trials of
    the storage and samples by (seed, number), so a restart loses and repeats nothing. Close the
    engine, or use it as a context manager, to end the process.

    Args:
        storage: Of the study.
        space: The search space.
        oracle: ``random``, or ``bayesian``: a Gaussian process once three trials for each
            parameter are complete.
        seed: Of the study.
        enqueue: Configs of the first trials.
        command: The process of the oracle; see :mod:`effv2_tune.interop.oracle_process`.
    """

    def __init__(
        self,
        storage: TrialStore,
        space: Space,
        *,
        oracle: OracleName,
        seed: int = 0,
        enqueue: Sequence[Config] = (),
        command: Sequence[str] = ORACLE_COMMAND,
    ) -> None:
        self._storage = storage
        self._optuna = storage.optuna
        self._study_id = self._optuna.get_study_id_from_name(storage.study_name)
        self._space = space
        self._oracle = oracle
        self._seed = seed
        self._enqueue = list(enqueue)
        self._command = tuple(command)
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._sent: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        """The process starts with the first ask."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def ask(self) -> Asked:
        """Begin a new trial; see :class:`effv2_tune.search.engines.base.Engine`.

        Raises:
            TuneError: The process of the oracle has exited.
        """
        return begin_trial(self._storage, self._propose)

    def resume(self, number: int) -> Config:
        """The config of a running trial, which is complete from its beginning."""
        trial_id = self._optuna.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return config_of_params(self._space, self._optuna.get_trial(trial_id).params)

    def close(self) -> None:
        """End the oracle's process."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.communicate(timeout=_SHUTDOWN_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self._sent.clear()
        self._log.close()

    def _propose(self, trials: Sequence[FrozenTrial]) -> tuple[FrozenTrial, Config]:
        number = len(trials)
        place = position(trials, number)
        if place < len(self._enqueue):
            config = self._enqueue[place]
        else:
            self._send_changes(trials)
            self._send({"ask": {"number": number}})
            reply = self._receive()
            if "exhausted" in reply:
                raise Exhausted
            config = reply["config"]
        # With the digits that the storage keeps.
        config = self._space.decode(self._space.encode(config))
        params, distributions = params_of_config(self._space, config)
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=params, distributions=distributions
        )
        return template, config

    def _send_changes(self, trials: Sequence[FrozenTrial]) -> None:
        """Send the trials that have begun, ended, failed or been restated since the last call."""
        outcomes = ExpectedOutcomes(self._storage.trials())
        for trial in trials:
            if REPLICATE in trial.user_attrs:
                continue
            if trial.state == TrialState.FAIL:
                if self._sent.pop(trial.number, None) is not None:
                    self._send({"forget": {"number": trial.number}})
                continue
            config = config_of_params(self._space, trial.params)
            result = _trial_message(trial, config, outcomes.seconds(trial.number))
            if self._sent.get(trial.number) != result:
                self._sent[trial.number] = result
                self._send({"tell": result})

    def _send(self, message: dict[str, Any]) -> None:
        process = self._running()
        if process.stdin is None:
            raise AssertionError("the process has a pipe for its input")
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise self._exit_error() from error

    def _receive(self) -> dict[str, Any]:
        process = self._running()
        if process.stdout is None:
            raise AssertionError("the process has a pipe for its output")
        line = process.stdout.readline()
        if not line:
            raise self._exit_error()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=os.environ | oracle_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                # Ctrl-C is for the supervisor; this process ends with its input.
                start_new_session=True,
            )
            quality = self._optuna.get_study_directions(self._study_id)[0]
            begin = {
                "oracle": self._oracle,
                "space": self._space.model_dump(mode="json"),
                "seed": self._seed,
                "minimize": quality == StudyDirection.MINIMIZE,
            }
            self._send({"begin": begin})
        return self._process

    def _exit_error(self) -> TuneError:
        self._log.seek(0)
        tail = "".join(self._log.readlines()[-_TAIL_LINES:])
        return TuneError(
            f"The process of Keras Tuner's {self._oracle} oracle has exited.",
            hint=f"Its log ends:\n{tail}" if tail else "Its log is empty; run the study again.",
            exit_code=EXIT_FAILED,
        )


def oracle_environment() -> dict[str, str]:
    """The environment variables of the oracle's process: no device, few log messages."""
    return {
        # The lightest complete backend: Keras' NumPy backend needs JAX.
        "KERAS_BACKEND": "numpy" if find_spec("jax") is not None else "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }


def _trial_message(trial: FrozenTrial, config: Config, restated: float | None) -> dict[str, Any]:
    """A trial, as sent to the oracle's process; with its seconds by the newest step time."""
    message: dict[str, Any] = {"number": trial.number, "config": config}
    if trial.state == TrialState.COMPLETE:
        quality, seconds = trial.values
        seconds = seconds if restated is None else restated
        return message | {"state": "complete", "quality": quality, "seconds": seconds}
    return message | {"state": "worse" if trial.state == TrialState.PRUNED else "running"}
