"""Computes a frozen backbone's features of every image, block by block, and caches them."""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import numpy as np

from effv2_tune import catalog
from effv2_tune.files.copied_folder import is_remote
from effv2_tune.network import load_weights, training_network
from effv2_tune.network.pretrained.weights import find_weights, input_scaling
from effv2_tune.training.backends.base import StepPlan
from effv2_tune.training.features.cache import FeatureCache, FeatureFacts, FeatureKey
from effv2_tune.training.features.feature_set import FeatureSet, FeatureSource
from effv2_tune.training.features.files import FeatureFile
from effv2_tune.training.process_memory import is_out_of_memory
from effv2_tune.training.recipe_mapping import weights_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from effv2_tune.catalog import Scaling
    from effv2_tune.data import Dataset
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.backends.base import Extractor, SplitName
    from effv2_tune.training.devices import Device
    from effv2_tune.training.features.files import Features
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.machine_lock import MachineLock

_log = logging.getLogger(__name__)

#: Images per device in a batch of extraction, if they fit: the original's batch.
DEVICE_BATCH = 128
#: Batches per block: as much is lost at most when the process is killed.
BLOCK_BATCHES = 8
#: Blocks of training images that are timed while nothing else trains on this machine.
MEASURED_BLOCKS = 3

#: Names of arrays: of the images of a split, and of the same images mirrored.
_PLAIN: tuple[SplitName, ...] = ("train", "validation", "test")
_MIRRORED = ("train-mirrored", "validation-mirrored", "test-mirrored")


@dataclass(frozen=True)
class ExtractionContext:
    """What all extractions of a process have in common.

    Attributes:
        dataset: The images.
        images: Returns them on the device; called only when something has to be computed.
        device: On which the backbone runs.
        lock: Between the processes of this machine that train.
        base: Folder that relative paths of a recipe start from.
        cache: Of features; this user's if None.
    """

    dataset: Dataset
    images: Callable[[], DeviceData]
    device: Device
    lock: MachineLock
    base: Path
    cache: FeatureCache | None = None


class FeatureExtractor:
    """Provides the features of a dataset, from the cache or from the backbone."""

    def __init__(self, context: ExtractionContext) -> None:
        self._context = context
        self._dataset = context.dataset
        self._kept: WeakValueDictionary[tuple[str, bool, bool], FeatureSet] = WeakValueDictionary()

    def features(
        self, recipe: Recipe, precision: str, before_block: Callable[[], None] = lambda: None
    ) -> FeatureSet:
        """The features that trials of a recipe train on: of training and validation images.

        Args:
            recipe: With a frozen backbone, and no augmentation but flips.
            precision: Of the computation.
            before_block: Called before each block that is computed; an exception ends the
                extraction, whose blocks so far are kept.

        Raises:
            TuneError: The weights cannot be loaded, or the features cannot be written.
        """
        started = time.perf_counter()
        facts = self._facts(recipe, precision)
        identity = (facts.key.digest, bool(recipe.flip), recipe.evaluation_flip)
        kept = self._kept.get(identity)
        if kept is not None:
            return kept
        job = _ExtractionJob(self._context, recipe, facts, before_block)
        # With folds, the validation images of the first one are training images of the others.
        has_folds = self._dataset.fold_of is not None
        parts = 2 if has_folds else 1
        both = recipe.flip or (has_folds and recipe.evaluation_flip)
        names = [_PLAIN[:parts], *([_MIRRORED[:parts]] if both else [])]
        is_validated = len(self._dataset.validation) > 0
        evaluated = _evaluated_views("validation", recipe) if is_validated else []
        arrays = job.arrays([*dict.fromkeys([*itertools.chain(*names), *evaluated])])
        views = tuple(_joined([arrays[part] for part in view]) for view in names)
        sources = {"train": FeatureSource(views, self._dataset.pool.labels)}
        if is_validated:
            validation = tuple(arrays[name] for name in evaluated)
            sources["validation"] = FeatureSource(validation, self._dataset.validation.labels)
        features = FeatureSet(
            facts=facts,
            sources=sources,
            device_data={},
            extraction_seconds=job.image_seconds
            * len(self._dataset.train)
            * (1 + bool(recipe.flip)),
            wall_seconds=time.perf_counter() - started,
            notes=job.notes,
        )
        self._kept[identity] = features
        return features

    def add_test(self, features: FeatureSet, recipe: Recipe) -> None:
        """Add the features of the test images to a feature set; raises as :meth:`features`."""
        if "test" not in features.sources:
            job = _ExtractionJob(self._context, recipe, features.facts)
            names = _evaluated_views("test", recipe)
            arrays = job.arrays(names)
            views = tuple(arrays[name] for name in names)
            features.sources["test"] = FeatureSource(views, self._dataset.test.labels)
            features.notes += job.notes

    def _facts(self, recipe: Recipe, precision: str) -> FeatureFacts:
        base, environment = self._context.base, self._context.device.environment
        weights = _pretrained(recipe, base)
        path = find_weights(recipe.variant, weights)
        key = FeatureKey(
            data=self._dataset.digest,
            variant=recipe.variant,
            resolution=recipe.pixels,
            resize=recipe.resize,
            weights=_file_digest(path),
            scaling=input_scaling(recipe.variant, weights),
            backend=environment.backend,
            device_kind=environment.device_kind,
            device_count=environment.device_count,
            threads=environment.threads if environment.hardware == "cpu" else None,
            version=environment.versions.get(environment.backend, ""),
            precision=precision,
        )
        data = recipe.data
        folder = "" if data.path is None else f" {_place_of(data.path, base)}"
        return FeatureFacts(key=key, source=data.name + folder, weights_name=recipe.weights)


class _ExtractionJob:
    """Provides some arrays of one feature set; the backbone is built only if one is incomplete."""

    def __init__(
        self,
        context: ExtractionContext,
        recipe: Recipe,
        facts: FeatureFacts,
        before_block: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._before_block = before_block
        self._dataset = context.dataset
        self._cache = FeatureCache() if context.cache is None else context.cache
        self._lock = context.lock
        self._recipe = recipe
        self._facts = facts
        self._extractor: Extractor | None = None
        self._max_batch = DEVICE_BATCH * facts.key.device_count
        self._batch = self._max_batch
        self.notes: list[str] = []
        self.image_seconds = 0.0

    def arrays(self, names: list[str]) -> dict[str, Features]:
        """The features by name: of a split, or of its mirrored images."""
        with self._cache.exclusive(self._facts, self._note_waiting) as folder:
            files = {name: self._file(folder, name) for name in names}
            arrays = {name: file.read() for name, file in files.items()}
            incomplete = {name: files[name] for name, array in arrays.items() if array is None}
            if incomplete:
                arrays |= self._complete(incomplete)
            else:
                self._note(f"features of {self._label} found in {folder}")
            if "train" in files:
                self.image_seconds = files["train"].seconds() or 0.0
        self._extractor = None
        return {name: array for name, array in arrays.items() if array is not None}

    def _complete(self, incomplete: dict[str, FeatureFile]) -> dict[str, Features]:
        """Compute the missing blocks of some arrays, and open them."""
        is_new = not any(file.is_begun() for file in incomplete.values())
        if is_new and self._cache.of_changed_data(self._facts):
            self._note(
                f"the images of {self._facts.source}, or their splits, have changed since "
                "features were cached: they are computed anew"
            )
        finished = [name for name, file in incomplete.items() if file.is_finished()]
        missing = {name: file.missing() for name, file in incomplete.items()}
        for name in finished:
            self._note(
                f"cached features of {self._label} were damaged: {len(missing[name])} of "
                f"{len(incomplete[name].starts)} blocks ({name}) are computed anew"
            )
        computed = sum(len(starts) for starts in missing.values())
        total = sum(len(file.starts) for file in incomplete.values())
        if computed < total and not finished:
            found = f"{total - computed} of {total} blocks were there"
            self._note(f"features of {self._label}: {found}")
        needed = sum(len(missing[name]) * file.block_bytes for name, file in incomplete.items())
        for removed in self._cache.evict(needed, self._facts.key):
            why = "the least recently used beyond the limit"
            self._note(f"features of {removed.label} were removed: {why}")
        started = time.perf_counter()
        arrays = {}
        for name, file in incomplete.items():
            self._fill(name, file, missing[name])
            arrays[name] = file.finish()
        seconds = time.perf_counter() - started
        self._note(
            f"features of {self._label}: up to {computed * self._block:,} images computed in "
            f"{seconds:.1f} s"
        )
        return arrays

    def _fill(self, name: str, file: FeatureFile, missing: list[int]) -> None:
        split = _split_of(name)
        unmeasured = MEASURED_BLOCKS - file.measured_blocks() if name == "train" else 0
        with file.writing() as writer:
            for start in missing:
                self._before_block()
                stop = min(start + self._block, file.count)
                measures = unmeasured > 0
                features, seconds = self._compute(
                    split, start, stop, mirrored=name in _MIRRORED, measures=measures
                )
                writer.write(start, features, seconds if measures else None)
                unmeasured -= 1

    def _compute(
        self, split: SplitName, start: int, stop: int, *, mirrored: bool, measures: bool
    ) -> tuple[Features, float]:
        """The features of a block's images, and the seconds per image; in batches that fit."""
        while True:
            try:
                extractor = self._prepared_extractor(split)
                order = self._order(start, stop)
                with self._lock.measuring() if measures else self._lock.training():
                    before = time.perf_counter()
                    features = extractor.run(split, order, mirrored=mirrored)
                    seconds = (time.perf_counter() - before) / order.size
            except Exception as error:
                if self._batch == self._facts.key.device_count or not is_out_of_memory(error):
                    raise
                self._extractor = None
                self._batch //= 2
                self._note(
                    f"{2 * self._batch} images at once do not fit for features of {self._label}: "
                    f"{self._batch} are tried"
                )
            else:
                return features[: stop - start], seconds

    def _order(self, start: int, stop: int) -> NDArray[np.int32]:
        """The images of a block, in batches of one size: the last is filled with the first."""
        images = np.arange(start, stop, dtype=np.int32)
        filled = np.full(-(-len(images) // self._batch) * self._batch, start, np.int32)
        filled[: len(images)] = images
        return filled.reshape(-1, self._batch)

    def _prepared_extractor(self, split: SplitName) -> Extractor:
        """The backbone, compiled; it has run once, so that no block's time includes that."""
        if self._extractor is None:
            context, key = self._context, self._facts.key
            backbone = frozen_backbone(self._recipe, context.base, key.precision)
            shape = self._dataset.train.images.shape[1:]
            plan = extraction_plan(self._recipe, key.scaling, image_shape=shape, batch=self._batch)
            backend = context.device.backend
            self._extractor = backend.make_extractor(backbone, plan, context.images())
            with self._lock.training():
                self._extractor.run(split, self._order(0, 1), mirrored=False)
        return self._extractor

    def _file(self, folder: Path, name: str) -> FeatureFile:
        return FeatureFile(
            folder,
            name,
            count=len(getattr(self._dataset, _split_of(name))),
            width=catalog.find_variant(self._recipe.variant).head_width,
            block=self._block,
        )

    @property
    def _block(self) -> int:
        return self._max_batch * BLOCK_BATCHES

    @property
    def _label(self) -> str:
        return f"{self._facts.key.variant}@{self._facts.key.resolution}"

    def _note_waiting(self) -> None:
        self._note(f"another process computes features of {self._label}: waited for it")

    def _note(self, note: str) -> None:
        _log.info(note)
        self.notes.append(note)


def extraction_plan(
    recipe: Recipe, scaling: Scaling, *, image_shape: tuple[int, ...], batch: int
) -> StepPlan:
    """The settings of an extraction that are compiled in.

    Args:
        recipe: With a frozen backbone.
        scaling: Of the pixel values that the backbone takes.
        image_shape: Height, width and channels of the stored images.
        batch: Images per step, over all devices.
    """
    return StepPlan(
        batch=batch,
        classes=0,
        image_shape=image_shape,
        resolution=recipe.pixels,
        interpolation=recipe.resize,
        scaling=scaling,
        augmentations=(),
        averaged=False,
    )


def frozen_backbone(recipe: Recipe, base: Path, precision: str) -> Any:
    """The backbone of a recipe with its pretrained weights, without a classifier.

    Raises:
        TuneError: The weights cannot be loaded, or do not fit.
    """
    backbone = random_backbone(recipe, precision)
    load_weights(backbone, _pretrained(recipe, base))
    return backbone


def random_backbone(recipe: Recipe, precision: str) -> Any:
    """The backbone of a recipe with random weights, without a classifier."""
    return training_network(
        recipe.variant,
        classes=None,
        resolution=recipe.pixels,
        trainable_from="head",
        seed=recipe.seed,
        dtype=precision,
    )


def _pretrained(recipe: Recipe, base: Path) -> str:
    weights = weights_source(recipe, base)
    if weights is None:
        raise RuntimeError("A frozen backbone has pretrained weights.")
    return weights


def _evaluated_views(split: SplitName, recipe: Recipe) -> list[str]:
    """The arrays of the views of a split that a recipe evaluates."""
    views = dict(zip(_PLAIN, _MIRRORED, strict=True))
    return [split, views[split]] if recipe.evaluation_flip else [split]


def _place_of(path: str, base: Path) -> str:
    return path if is_remote(path) else str((base / path).resolve())


def _split_of(name: str) -> SplitName:
    return dict(zip(_MIRRORED, _PLAIN, strict=True)).get(name) or cast("SplitName", name)


def _joined(parts: list[Features]) -> Features:
    """The parts in one array; a single one is not copied, as it may be a memory map."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
