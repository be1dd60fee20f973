"""Defines the study plan: search space, data, budget and sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from effv2_tune import catalog
from effv2_tune.study.automatic_engine import automatic_engine
from effv2_tune.study.base import Value
from effv2_tune.study.limits import (
    MAX_DEVICES,
    MAX_ENQUEUED,
    MAX_HOURS,
    MAX_RUNGS,
    MAX_TRIALS,
    MAX_WORKERS,
    PathText,
)
from effv2_tune.study.recipe import (
    NATIVE,
    SAME,
    TRAIN_AND_VALIDATION,
    DataSpec,
    Quality,
    Recipe,
    Settings,
    quality_direction,
)
from effv2_tune.study.space import Config, Space, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Direction = Literal["maximize", "minimize"]
#: The engines that use the priors of a search space.
KNOW_PRIORS = ("freeze_thaw", "tpe")


class HalvingSpec(Value):
    """When trials are pruned: multi-objective asynchronous successive halving (ASHA).

    Attributes:
        enabled: Whether trials are pruned at all.
        rungs: Where trials are compared, as fractions of a trial's epochs.
        keep: Fraction of trials that survive each rung (1 / reduction factor).
        guard_after: After this many complete trials, never prune a trial whose optimistic final
            quality is still non-dominated.
        quantile: Quantile of the gains observed between a rung and the end that counts as
            optimistic.
        earned: Whether a rung is only as strict as the rank correlation between it and the end has
            earned, over the complete trials of this study.
    """

    enabled: bool = True
    rungs: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=MAX_RUNGS)
    ] = (0.1, 0.22, 0.4)
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.25
    guard_after: Annotated[int, Field(ge=1)] = 8
    quantile: Annotated[float, Field(gt=0, le=1)] = 0.9
    earned: bool = False


class ConfirmSpec(Value):
    """How the picks are confirmed: configs are trained again with other seeds.

    Attributes:
        trials: Number of replicates in all, over all runs of the study; null for no limit.
        hours: Hours of training replicates in all; null for no limit. Without either limit,
            replicates take at most as many seconds of training as the search has taken.
        level: A pick is clear when it is the best choice with this probability.
        difference: Differences of quality up to this one do not matter.
        pick: The only pick that is to be clear, so that all replicates are for this one choice;
            null for all three.
    """

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] | None = None
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.9
    difference: Annotated[float, Field(ge=0)] = 0.005
    pick: Literal["fastest", "knee", "most-accurate"] | None = None


class SearchSpec(Value):
    """How the next config is sampled.

    Attributes:
        engine: The sampler: one of Optuna's by name, or an oracle of Keras Tuner; or
            ``freeze_thaw``, which pauses trials at rungs and continues the most promising ones;
            ``auto`` is ``freeze_thaw`` or ``tpe``, whichever suits the search space.
        seed: Of the sampler; with one worker the same seed gives the same configs.
        halving: When a trial is pruned.
        confirm: How ``run`` confirms the picks after the search; null for not at all. The command
            ``confirm`` does so at any time.
        range_test: Whether ``run`` sets the bounds of ``initial_learning_rate`` and
            ``maximal_learning_rate`` in the search space before the first trial, by a learning-rate
            range test as of the command ``range``. The numbers in the file are replaced, not
            narrowed.
    """

    engine: Literal[
        "tpe",
        "random",
        "nsga2",
        "qmc",
        "grid",
        "gp",
        "freeze_thaw",
        "auto",
        "keras_tuner_random",
        "keras_tuner_bayesian",
    ] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    halving: HalvingSpec = HalvingSpec()
    confirm: ConfirmSpec | None = None
    range_test: bool = False


class StopSpec(Value):
    """End the study early, when its Pareto front has stopped improving by more than its noise.

    Attributes:
        growth: The study ends when the last ``trials`` have added less than this share of the
            front's hypervolume; null for never. Never, too, where ``no_new_front_point`` is the
            only key.
        trials: Number of finished trials over which growth is measured.
        no_new_front_point: The study ends when so many finished trials in a row have added no
            point to the front; null for never.
    """

    growth: Annotated[float, Field(gt=0, lt=1)] | None = 0.01
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 20
    no_new_front_point: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_one_criterion(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.keys() == {"no_new_front_point"}:
            return data | {"growth": None}
        return data

    @model_validator(mode="after")
    def _ends(self) -> StopSpec:
        if self.growth is None and self.no_new_front_point is None:
            raise ValueError("it never ends the study: set 'growth:' or 'no_new_front_point:'")
        return self


class RecordedClock(Value):
    """Replay recorded step times instead of measuring, so that a whole run is reproducible.

    Attributes:
        recorded: Folder of the study that recorded them; relative to the study file.
    """

    recorded: Annotated[PathText, Field(min_length=1)]


#: How long a trial waits for the target while there is other work: a change of placement ends all
#: workers, and the next ones start and compile again.
TARGET_WAIT_SECONDS = 1800.0


class TargetSpec(Value):
    """The placement that training time is meant for: that of the final training.

    Attributes:
        devices: How many devices it uses; ``batch_size: {per_device: N}`` is N for each of them.
        device: The device, by a name that ``plan --device`` knows, such as ``v5e``; that of this
            machine if left out, and another one is refused.
    """

    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)]
    device: Annotated[str, Field(min_length=1, max_length=80)] | None = None


class PerWorker(Value):
    """What each worker needs on the node of a cluster that it runs on.

    Attributes:
        cpu: Processors that are reserved for it; without a GPU, also its compute threads.
        gpu: GPUs that it has for itself.
    """

    cpu: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    gpu: Literal[0, 1] = 0


class ClusterSpec(Value):
    """The Ray cluster that the workers run on.

    Attributes:
        ray: ``auto`` for the cluster that this machine is a node of, or ``HOST:PORT`` of its head.
        per_worker: What each worker needs.
    """

    ray: Annotated[str, Field(min_length=1, max_length=300)] = "auto"
    per_worker: PerWorker = PerWorker()


class StudyPlan(Value):
    """A validated study file.

    Attributes:
        name: Name of the study; its default folder is ``runs/<name>``.
        data: Which images, and how they are split.
        recipe: Every setting that is not searched.
        search_space: The hyperparameters to search, with their ranges.
        quality: The metric that is traded against training time.
        trials: Number of trials in all, over all runs of the study; null for no limit.
        hours: Hours of running in all, downloads before the first trial left out; null for no
            limit.
        accelerator_hours: Device-hours in all: the hours of each worker times its devices, over
            all workers and machines; null for no limit.
        workers: Worker processes on this machine, or at most so many on the cluster; on the CPU of
            one machine they share its processors evenly, and
            step times are those of such a share. With a cluster, ``auto`` is as many as it has
            room for, while nodes come and go; on one machine it divides the chips of a TPU, or the
            GPUs, over as many workers as train most trials in an hour by the figures of ``plan``,
            with all of them as the target unless ``target:`` says otherwise.
        devices_per_worker: Chips of a TPU, or GPUs, of each worker; by default, a lone worker has
            all, and each of several has one. On a CPU, JAX simulates so many.
        target: The placement that training time is meant for; by default the one where the trials
            run. Trials that run on fewer devices have the same batches, and their buckets are timed
            on the target. On a cluster it is one device by name: nodes that have it time the
            buckets, and those with others train, too.
        cluster: The Ray cluster that the workers run on, at most ``workers`` at a time; null for
            this machine.
        search: How the next config is sampled.
        enqueue: Configs to try first.
        stop_when: End when the Pareto front has stopped growing; null for never.
        hardware: The kind of device to use; ``auto`` uses the best one of the host.
        backend: The Keras backend; ``auto`` is TensorFlow on CPU, JAX on TPU and where it is
            installed with GPU support.
        keep: The trials whose selected weights are kept on disk.
        clock: Source of the step times from which training seconds are computed: ``measured``
            here, once for each bucket, or ``{recorded: FOLDER}`` of an earlier study.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    data: DataSpec = DataSpec()
    recipe: Settings = Settings()
    search_space: Space
    quality: Quality = "accuracy"
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] | None = None
    accelerator_hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] | None = None
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Literal["auto"] = 1
    devices_per_worker: Literal[1, 2, 4, 8] | None = None
    target: TargetSpec | None = None
    cluster: ClusterSpec | None = None
    search: SearchSpec = SearchSpec()
    enqueue: Annotated[tuple[Config, ...], Field(max_length=MAX_ENQUEUED)] = ()
    stop_when: StopSpec | None = None
    hardware: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    backend: Literal["auto", "tensorflow", "jax"] = "auto"
    keep: Literal["front", "all", "none"] = "front"
    clock: Literal["measured"] | RecordedClock = "measured"

    @model_validator(mode="after")
    def _ends(self) -> StudyPlan:
        limits = (self.trials, self.hours, self.accelerator_hours, self.stop_when)
        if all(limit is None for limit in limits):
            raise ValueError(
                "the study would never end: set 'trials:', 'hours:', 'accelerator_hours:' or "
                "'stop_when:' (or several)"
            )
        return self

    @model_validator(mode="after")
    def _can_validate(self) -> StudyPlan:
        if self.data.train_on == TRAIN_AND_VALIDATION:
            raise ValueError(
                f"'data: train_on: {TRAIN_AND_VALIDATION}' leaves no validation images, by which "
                "trials are compared; it is for the final training: effv2-tune train FILE --data "
                f"{TRAIN_AND_VALIDATION}"
            )
        return self

    @model_validator(mode="after")
    def _fits_a_cluster(self) -> StudyPlan:
        if self.cluster is None:
            return self
        if self.devices_per_worker is not None:
            raise ValueError(
                "'devices_per_worker:' and 'cluster:' cannot be combined; 'cluster: per_worker:' "
                "says what each worker has"
            )
        target = self.target
        if target is not None and (target.devices > 1 or target.device is None):
            raise ValueError(
                "with 'cluster:', 'target:' names the one device of a node on which step times are "
                "measured, such as 'target: {devices: 1, device: t4}': each worker has one"
            )
        if self.search.range_test:
            raise ValueError(
                "'search: range_test:' tests on this machine, not on the nodes of 'cluster:'; "
                "write the bounds with 'effv2-tune range --write' on one of them"
            )
        return self

    @property
    def engine(self) -> str:
        """The engine that searches: that of ``search:``, where ``auto`` follows from the space."""
        named = self.search.engine
        return automatic_engine(self.search_space) if named == "auto" else named

    @property
    def pauses(self) -> bool:
        """Whether trials are paused at rungs, so that their checkpoints wait on the disk."""
        return self.engine == "freeze_thaw" and self.search.halving.enabled

    @property
    def worker_count(self) -> int:
        """Worker processes; 1 until they have been chosen."""
        return 1 if self.workers == "auto" else self.workers

    def with_workers(self, workers: int, devices_each: int | None, devices: int) -> StudyPlan:
        """The plan with the workers that were chosen for it.

        Args:
            workers: How many.
            devices_each: Devices of each.
            devices: All devices of the machine: the target, unless the plan has one.
        """
        target = self.target
        if target is None and devices > 1:
            target = TargetSpec(devices=devices)
        changes = {"workers": workers, "devices_per_worker": devices_each, "target": target}
        return self.model_copy(update=changes)

    @property
    def target_devices(self) -> int | None:
        """Devices of the target; None where trials are timed on their own."""
        return None if self.target is None else self.target.devices

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """The optimization directions of quality and training seconds."""
        return quality_direction(self.quality), "minimize"

    @property
    def largest_resolution(self) -> int:
        """The side in pixels of the largest images that a trial may see."""
        sizes = {*self._values("resolution"), *self._values("evaluation_resolution")} - {SAME}
        if NATIVE not in sizes:
            return max(int(size) for size in sizes)
        names = self._values("variant")
        native = [catalog.find_variant(str(name)).native_resolution for name in names]
        return max([int(size) for size in sizes if size != NATIVE] + native)

    def _values(self, name: str) -> list[Any]:
        """The values of a setting that a trial may have."""
        parameter = self.search_space.parameters.get(name)
        return [getattr(self.recipe, name)] if parameter is None else list(values_of(parameter))

    def recipe_for(self, config: Mapping[str, Any]) -> Recipe:
        """The recipe of ``config``: its values override the study's settings.

        Raises:
            pydantic.ValidationError: A value is not valid in a recipe.
        """
        settings = self.recipe.model_dump(exclude_unset=True) | dict(config)
        return Recipe.of(settings, self.data, self.quality)
