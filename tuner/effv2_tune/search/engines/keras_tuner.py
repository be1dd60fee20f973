"""Keras Tuner's oracles as engines, asked in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.engines.base import Asked, Exhausted
from effv2_tune.search.engines.distributions import config_of_params, drawn_by
from effv2_tune.search.storage.database import TrialNumberTakenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from effv2_tune.search.engines.base import Engine
    from effv2_tune.study.space import Config, Space
    from effv2_tune.study.trial import Trial

OracleName = Literal["random", "bayesian"]
#: The oracle of each engine that a study can name.
KERAS_TUNER_ENGINES: Mapping[str, OracleName] = {
    "keras_tuner_random": "random",
    "keras_tuner_bayesian": "bayesian",
}
#: Named, not imported: Keras Tuner starts a Keras backend, which the supervisor never has.
ORACLE_COMMAND = (sys.executable, "-m", "effv2_tune.interop.oracle_process")
_PATIENCE_SECONDS = 10.0
_TAIL_LINES = 12


class _Stored(Protocol):
    """A storage that holds its study in Optuna's form."""

    study_name: str
    optuna: BaseStorage

    def begin(self, drawn: FrozenTrial, number: int) -> None: ...


class KerasTunerEngine:
    """Asks one of Keras Tuner's oracles, which are for one objective.

    So quality and log seconds become one loss, weighed anew for each trial from (seed, number):
    the augmented Chebyshev loss of :mod:`effv2_tune.interop.scalarisation`, never Keras Tuner's own
    sum of objectives. A trial that ended without values counts as the worst seen; one that crashed
    does not count.

    The oracle's process has the devices hidden. It is started at the first ask, is told what the
    storage holds, and draws by (seed, number): a restart loses and repeats nothing. Close the
    engine, or use it as a context manager, to end it.

    Args:
        storage: Where the study is.
        space: What is searched.
        oracle: ``random``, or ``bayesian``: a Gaussian process once three trials for each
            parameter are complete.
        seed: Of the study.
        enqueue: Configs that the first trials get.
        command: What answers; see :mod:`effv2_tune.interop.oracle_process`.
    """

    def __init__(
        self,
        storage: _Stored,
        space: Space,
        *,
        oracle: OracleName,
        seed: int = 0,
        enqueue: Sequence[Config] = (),
        command: Sequence[str] = ORACLE_COMMAND,
    ) -> None:
        self._stored = storage
        self._storage = storage.optuna
        self._study_id = self._storage.get_study_id_from_name(storage.study_name)
        self._space = space
        self._oracle = oracle
        self._seed = seed
        self._enqueue = list(enqueue)
        self._command = tuple(command)
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._told: dict[int, str] = {}

    def __enter__(self) -> Self:
        """The process starts with the first ask."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def ask(self) -> Asked:
        """Begin a new trial; see :class:`effv2_tune.search.engines.base.Engine`.

        Raises:
            TuneError: The oracle's process has died.
        """
        while True:
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
            config = self._draw(len(trials), trials)
            params, distributions = drawn_by(self._space, config)
            drawn = optuna.trial.create_trial(
                state=TrialState.RUNNING, params=params, distributions=distributions
            )
            try:
                self._stored.begin(drawn, len(trials))
            except TrialNumberTakenError:
                # Drawn from the same seed, two supervisors' configs would be the same.
                continue
            return Asked(len(trials), config)

    def resume(self, number: int) -> Config:
        """The config of a trial that was begun: it is begun with all of it."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return config_of_params(self._space, self._storage.get_trial(trial_id).params)

    def tell(self, trial: Trial) -> None:
        """Nothing to do: the next ask reads the storage."""

    def close(self) -> None:
        """End the oracle's process."""
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._told.clear()
        self._log.close()

    def _draw(self, number: int, trials: Sequence[FrozenTrial]) -> Config:
        config = self._enqueue[number] if number < len(self._enqueue) else None
        if config is None:
            self._say_what_is_new(trials)
            self._say({"ask": {"number": number}})
            answer = self._hear()
            if "exhausted" in answer:
                raise Exhausted
            config = answer["config"]
        # As it will be read from the storage, to the last digit.
        return self._space.decode(self._space.encode(config))

    def _say_what_is_new(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            if trial.state == TrialState.FAIL:
                if self._told.pop(trial.number, None) is not None:
                    self._say({"forget": {"number": trial.number}})
                continue
            told = _told(trial, config_of_params(self._space, trial.params))
            if self._told.get(trial.number) != told["state"]:
                self._told[trial.number] = told["state"]
                self._say({"tell": told})

    def _say(self, message: dict[str, Any]) -> None:
        process = self._running()
        if process.stdin is None:
            raise AssertionError("the process has a pipe for its input")
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def _hear(self) -> dict[str, Any]:
        process = self._running()
        if process.stdout is None:
            raise AssertionError("the process has a pipe for its output")
        line = process.stdout.readline()
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        return answer

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
            quality = self._storage.get_study_directions(self._study_id)[0]
            begin = {
                "oracle": self._oracle,
                "space": self._space.model_dump(mode="json"),
                "seed": self._seed,
                "minimize": quality == StudyDirection.MINIMIZE,
            }
            self._say({"begin": begin})
        return self._process

    def _death(self) -> TuneError:
        self._log.seek(0)
        tail = "".join(self._log.readlines()[-_TAIL_LINES:])
        return TuneError(
            f"Keras Tuner's {self._oracle} oracle has ended.",
            hint=f"It said last:\n{tail}" if tail else "It said nothing; run the study again.",
            exit_code=EXIT_FAILED,
        )


def oracle_environment() -> dict[str, str]:
    """What the oracle's process finds in its environment: no device, and little talk."""
    return {
        # The lightest backend that is whole: Keras' NumPy backend needs JAX.
        "KERAS_BACKEND": "numpy" if find_spec("jax") is not None else "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }


def _told(trial: FrozenTrial, config: Config) -> dict[str, Any]:
    """A trial as the oracle's process is told it."""
    told: dict[str, Any] = {"number": trial.number, "config": config}
    if trial.state == TrialState.COMPLETE:
        quality, seconds = trial.values
        return told | {"state": "complete", "quality": quality, "seconds": seconds}
    return told | {"state": "worse" if trial.state == TrialState.PRUNED else "running"}


if TYPE_CHECKING:

    def _is_an_engine(engine: KerasTunerEngine) -> Engine:
        return engine
