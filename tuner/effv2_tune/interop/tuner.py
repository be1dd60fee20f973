"""Defines a tuner of Keras Tuner whose trials are trained by a worker process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError

from effv2_tune.errors import TuneError, UnavailableError
from effv2_tune.files.atomic import write_json
from effv2_tune.interop.optuna_oracle import OptunaOracle
from effv2_tune.interop.parameters import config_of, to_hyperparameters
from effv2_tune.search.single_worker import TrainerClient, WorkerLostError
from effv2_tune.search.workload import BucketTime
from effv2_tune.study.bucket import DataFacts
from effv2_tune.study.loading import load_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.workers.pool import checkpoint_folder

if TYPE_CHECKING:
    from keras_tuner.engine.trial import Trial

    from effv2_tune.study.recipe import Recipe

#: The second objective, beside the study's quality.
SECONDS = "train_seconds"


def study_objectives(plan: StudyPlan) -> list[keras_tuner.Objective]:
    """Return the objectives of a study: its quality and training seconds."""
    quality = "max" if plan.directions[0] == "maximize" else "min"
    return [keras_tuner.Objective(plan.quality, quality), keras_tuner.Objective(SECONDS, "min")]


class SearchInterruptedError(UnavailableError, FatalError):  # type: ignore[misc]  # as below
    """A failure of the machine, which ends the search: Keras Tuner fails the trial for others."""


class EfficientNetV2Tuner(keras_tuner.Tuner):  # type: ignore[misc]  # Keras Tuner ships no types
    """Searches a study's space with any oracle; a worker process trains the trials.

    One worker trains all trials: each bucket is compiled once, images stay on the device, a killed
    trial resumes from its last checkpoint, and a model that does not fit fails its trial alone. No
    callback of Keras Tuner runs inside the steps, nothing is cleared between trials, and
    tensorboard is not needed. Each trial reports the study's quality (by its name, such as
    ``accuracy``), and ``train_seconds``: of the final training, without compilation; the step time
    is measured once for each bucket.

    Args:
        study: A study file, a shipped study's name, or a plan; its engine, workers, halving and
            hours are not used. The worker has the devices of its target, if there is one.
        oracle: Any oracle for one of the two objectives, or an `OptunaOracle` for both, which is
            the default, with the study's number of trials and seed.
        base: Folder for a plan's relative paths.
        directory: As for every tuner.
        project_name: As for every tuner; the study's name by default.
        overwrite: As for every tuner.
        tuner_id: As for every tuner.

    Raises:
        TuneError: An oracle of Keras Tuner has both objectives: it would add them, and a sum of
            accuracy and seconds means nothing.
    """

    def __init__(
        self,
        study: StudyPlan | str | Path,
        oracle: keras_tuner.Oracle | None = None,
        *,
        base: Path | None = None,
        directory: str | Path | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        tuner_id: str | None = None,
    ) -> None:
        if isinstance(study, StudyPlan):
            self._plan, self._base = study, base or Path.cwd()
        else:
            loaded = load_plan(study)
            self._plan, self._base = loaded.plan, loaded.base
        if oracle is None:
            oracle = OptunaOracle(
                study_objectives(self._plan),
                max_trials=self._plan.trials,
                seed=self._plan.search.seed,
            )
        if len(getattr(oracle.objective, "objectives", [])) > 1 and not isinstance(
            oracle, OptunaOracle
        ):
            raise TuneError(
                f"{type(oracle).__name__} adds its objectives up, and a sum of "
                f"{self._plan.quality} and seconds means nothing.",
                hint="Use effv2_tune.interop.OptunaOracle for both, or give it one objective. "
                "A study with 'engine: keras_tuner_bayesian' weighs both for Keras Tuner's oracle.",
            )
        self._times: dict[str, BucketTime] = {}
        self._facts: DataFacts | None = None
        self._client: TrainerClient | None = None
        super().__init__(
            oracle,
            directory=None if directory is None else str(directory),
            project_name=project_name or self._plan.name,
            overwrite=overwrite,
            tuner_id=tuner_id,
        )

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search until the oracle ends it, with a running worker.

        Args:
            *fit_args: None: the study defines the images and all of the training.
            **fit_kwargs: Only ``verbose``.

        Raises:
            TuneError: The device or the images cannot be used.
        """
        unknown = [*map(repr, fit_args), *(name for name in fit_kwargs if name != "verbose")]
        if unknown:
            raise TuneError(
                f"{type(self).__name__}.search takes no training arguments; found {len(unknown)}.",
                hint="The study defines the images, epochs and batch size.",
            )
        try:
            super().search(**fit_kwargs)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the worker."""
        if self._client is not None:
            self._times |= self._client.times
            self._client.close()
            self._client = None

    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> dict[str, float]:
        """Train or resume a trial; returns quality and seconds by name.

        Raises:
            FailedTrialError: The loss became NaN, the device ran out of memory, or the worker
                crashed repeatedly.
            SearchInterruptedError: A disk, file or network has failed.
            TuneError: It failed otherwise.
        """
        client = self._working_client()
        config = config_of(trial.hyperparameters, self._plan.search_space)
        try:
            trained = client.train(int(trial.trial_id), config)
        except WorkerLostError as error:
            raise FailedTrialError(str(error)) from error
        except UnavailableError as error:
            raise SearchInterruptedError(error.message, hint=error.hint) from error
        self._times |= client.times
        finished = trained.finished
        if finished.outcome in ("diverged", "infeasible"):
            raise FailedTrialError(finished.reason)
        if trained.values is None:
            raise TuneError(
                f"Trial {trial.trial_id} failed: {finished.reason}",
                hint=f"The worker's log is in {client.logs}.",
            )
        quality, seconds = trained.values
        return {self._plan.quality: quality, SECONDS: seconds}

    def load_model(self, trial: Trial) -> Any:
        """Load the trained model of a trial: stock layers, uint8 images in, probabilities out.

        Raises:
            TuneError: The trial's weights were deleted: it is not among the best.
        """
        from effv2_tune.files.checkpoint import CheckpointFolder

        recipe = self._recipe(trial)
        folder = checkpoint_folder(Path(self.project_dir), int(trial.trial_id))
        kept = CheckpointFolder(folder).latest()
        if kept is None or self._facts is None or trial.status != TrialStatus.COMPLETED:
            raise TuneError(
                f"The weights of trial {trial.trial_id} were not kept.",
                hint="Those of the oracle's best trials are: see get_best_models.",
            )
        return trained_model(recipe, self._facts, kept.arrays, base=self._base)

    def on_search_begin(self) -> None:
        """Start the worker, so that errors of device or images are raised at once."""
        self._working_client().start()

    def on_trial_end(self, trial: Trial) -> None:
        """Finish a trial, then delete the weights of all except the best trials.

        Where several processes share an oracle, none is deleted.
        """
        super().on_trial_end(trial)
        if self._is_worker():
            return
        best = {int(other.trial_id) for other in self._best_trials()}
        client = self._working_client()
        for other in self.oracle.trials.values():
            if other.status != TrialStatus.RUNNING and int(other.trial_id) not in best:
                client.forget(int(other.trial_id))

    def get_state(self) -> dict[str, Any]:
        """Return the state for a restart: step times and facts of the images."""
        times = {digest: time.model_dump() for digest, time in self._times.items()}
        facts = None if self._facts is None else self._facts.model_dump(mode="json")
        return {"bucket_times": times, "data": facts}

    def set_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`get_state`."""
        self._times = {
            digest: BucketTime.from_plain(time) for digest, time in state["bucket_times"].items()
        }
        if state["data"] is not None:
            shape = tuple(state["data"]["image_shape"])
            self._facts = DataFacts.model_validate(state["data"] | {"image_shape": shape})

    def save(self) -> None:
        """Write Keras Tuner's files, each atomically."""
        if not self._is_worker():
            self.oracle.save()
        write_json(Path(self._get_tuner_fname()), self.get_state())

    def _populate_initial_space(self) -> None:
        """Pass the study's space to the oracle; there is no hypermodel to build."""
        self.oracle.update_space(to_hyperparameters(self._plan.search_space))

    def _run_and_update_trial(self, trial: Trial, *_: Any, **__: Any) -> None:
        # Keras Tuner requires the sum of several objectives in the result of run_trial.
        self.oracle.update_trial(trial.trial_id, self.run_trial(trial))

    def _best_trials(self) -> list[Trial]:
        if isinstance(self.oracle, OptunaOracle):
            return self.oracle.get_best_trials()
        best: list[Trial] = self.oracle.get_best_trials(1)
        return best

    def _recipe(self, trial: Trial) -> Recipe:
        return self._plan.recipe_for(config_of(trial.hyperparameters, self._plan.search_space))

    def _working_client(self) -> TrainerClient:
        if self._client is None:
            self._client = TrainerClient(
                self._plan, base=self._base, folder=Path(self.project_dir), times=self._times
            )
            self._client.start()
            if self._client.ready is not None:
                self._facts = self._client.ready.data
        return self._client


def trained_model(recipe: Recipe, facts: DataFacts, arrays: Any, *, base: Path) -> Any:
    """Export a model with the selected weights of a finished trial's checkpoint.

    Args:
        recipe: Of the trial.
        facts: Of its images.
        arrays: Of its last checkpoint.
        base: Folder for a relative weight file.

    Returns:
        A model from uint8 [batch, height, width, channels] to probabilities [batch, classes].
    """
    from effv2_tune.network import stock_model, training_network
    from effv2_tune.network.pretrained.weights import input_scaling
    from effv2_tune.training.backends.base import named_variables
    from effv2_tune.training.recipe_mapping import network_arguments, weights_source

    network = training_network(
        recipe.variant,
        **network_arguments(recipe, classes=facts.classes, precision="float32"),
    )
    for name, variable in named_variables(network).items():
        variable.assign(arrays[name])
    return stock_model(
        network,
        image_shape=facts.image_shape,
        resolution=recipe.evaluation_pixels,
        scaling=input_scaling(recipe.variant, weights_source(recipe, base)),
        interpolation=recipe.resize,
    )
