"""A frozen backbone's features of every image: computed once, block by block, then from disk."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from effv2_tune import catalog
from effv2_tune.network import efficientnet_v2, load_weights
from effv2_tune.network.pretrained.weights import find_weights, input_scaling
from effv2_tune.training.backends.base import StepPlan
from effv2_tune.training.features.cache import FeatureCache, FeatureFacts, FeatureKey
from effv2_tune.training.features.files import FeatureFile
from effv2_tune.training.process_memory import is_out_of_memory
from effv2_tune.training.recipe_mapping import weights_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from effv2_tune.data import Dataset
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import Environment
    from effv2_tune.training.backends.base import SplitName
    from effv2_tune.training.features.files import Features
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.machine_lock import MachineLock

_log = logging.getLogger(__name__)

#: Images that go through a backbone at once on each device, if they fit: the original's batch.
DEVICE_BATCH = 128
#: Batches of a block: what a kill may cost.
BLOCK_BATCHES = 8
#: Blocks of training images that are timed while nothing else trains on this machine.
MEASURED_BLOCKS = 3

_MIRRORED = "train-mirrored"


class Extraction(Protocol):
    """A network without classifier on a device, compiled for inference."""

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """The features of some images.

        Args:
            split: Whose images.
            order: Their positions [batches, batch].
            mirrored: Whether they are mirrored first, left to right.

        Returns:
            [batches * batch, width].
        """


@dataclass(frozen=True)
class FeatureSource:
    """The features of a split, and their labels.

    Attributes:
        sides: [count, width] each: of the images, and of the mirrored images with flips.
        labels: [count].
    """

    sides: tuple[Features, ...]
    labels: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Of all sides."""
        return sum(side.nbytes for side in self.sides)

    def take(self, positions: NDArray[np.int32]) -> Features:
        """[positions, sides, width]."""
        return np.stack([np.take(side, positions, axis=0) for side in self.sides], axis=1)

    def whole(self) -> Features:
        """[count, sides, width]."""
        return np.stack(self.sides, axis=1)


@dataclass
class FeatureSet:
    """What buckets with the same frozen backbone, images and flips share.

    Attributes:
        facts: Of the features.
        rows: By split; the test split comes only when it is asked for.
        feeds: The same on their way to the device; filled by whoever has one.
        extraction_seconds: What computing those of the training images takes, each side of them.
        wall_seconds: What it took this process to have them; nothing once a trial has borne it.
        notes: Sentences about where they came from that nobody has said yet.
    """

    facts: FeatureFacts
    rows: dict[str, FeatureSource]
    feeds: DeviceData
    extraction_seconds: float
    wall_seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """Sides and width."""
        sides = self.rows["train"].sides
        return len(sides), sides[0].shape[1]

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return sum(rows.nbytes for rows in self.rows.values())

    def take_notes(self) -> tuple[str, ...]:
        """The notes, for whoever says them."""
        taken, self.notes = tuple(self.notes), []
        return taken

    def take_wall_seconds(self) -> float:
        """The wall time, for the one trial that bears it."""
        taken, self.wall_seconds = self.wall_seconds, 0.0
        return taken


class FeatureExtractor:
    """Has the features of a dataset, from disk or from the backbone.

    Args:
        dataset: The images.
        images: Gives their feeds; asked only when something has to be computed.
        environment: Where the backbone runs, and with what.
        lock: Between the processes of this machine that train.
        base: Folder that relative paths of a recipe start from.
        cache: Where features are kept; this user's if left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        images: Callable[[], DeviceData],
        environment: Environment,
        *,
        lock: MachineLock,
        base: Path,
        cache: FeatureCache | None = None,
    ) -> None:
        self._dataset = dataset
        self._images = images
        self._environment = environment
        self._lock = lock
        self._base = base
        self._given = cache
        self._kept: WeakValueDictionary[tuple[str, bool], FeatureSet] = WeakValueDictionary()

    @property
    def _cache(self) -> FeatureCache:
        return FeatureCache() if self._given is None else self._given

    def features(self, recipe: Recipe, precision: str) -> FeatureSet:
        """The features that trials of a recipe train on: of training and validation images.

        Args:
            recipe: With a frozen backbone, and no augmentation but flips.
            precision: Of the computation.

        Raises:
            TuneError: The weights cannot be had, or the disk does not take the features.
        """
        started = time.perf_counter()
        facts = self._facts(recipe, precision)
        kept = self._kept.get((facts.key.digest, recipe.flip))
        if kept is not None:
            return kept
        work = _Work(self, recipe, facts)
        names = ["train", *([_MIRRORED] if recipe.flip else []), "validation"]
        arrays = work.arrays(names)
        sides = (arrays["train"], *([arrays[_MIRRORED]] if recipe.flip else []))
        rows = {
            "train": FeatureSource(sides, self._dataset.train.labels),
            "validation": FeatureSource((arrays["validation"],), self._dataset.validation.labels),
        }
        made = FeatureSet(
            facts=facts,
            rows=rows,
            feeds={},
            extraction_seconds=work.image_seconds * len(self._dataset.train) * len(sides),
            wall_seconds=time.perf_counter() - started,
            notes=work.notes,
        )
        self._kept[facts.key.digest, recipe.flip] = made
        return made

    def add_test(self, features: FeatureSet, recipe: Recipe) -> None:
        """Give a feature set the features of the test images; raises as :meth:`features`."""
        if "test" not in features.rows:
            work = _Work(self, recipe, features.facts)
            test = work.arrays(["test"])["test"]
            features.rows["test"] = FeatureSource((test,), self._dataset.test.labels)
            features.notes += work.notes

    def _facts(self, recipe: Recipe, precision: str) -> FeatureFacts:
        weights = _pretrained(recipe, self._base)
        path = find_weights(recipe.variant, weights)
        where = self._environment
        key = FeatureKey(
            data=self._dataset.digest,
            variant=recipe.variant,
            resolution=recipe.pixels,
            resize=recipe.resize,
            weights=_file_digest(path),
            scaling=input_scaling(recipe.variant, weights),
            backend=where.backend,
            device_kind=where.device_kind,
            device_count=where.device_count,
            threads=where.threads if where.hardware == "cpu" else None,
            version=where.versions.get(where.backend, ""),
            precision=precision,
        )
        data = recipe.data
        folder = "" if data.path is None else f" {(self._base / data.path).resolve()}"
        return FeatureFacts(key=key, source=data.name + folder, weights_name=recipe.weights)


class _Work:
    """Having some arrays of one feature set; the backbone is built only if one has gaps."""

    def __init__(self, maker: FeatureExtractor, recipe: Recipe, facts: FeatureFacts) -> None:
        self._maker = maker
        self._dataset = maker._dataset  # noqa: SLF001 - the work is the maker's own
        self._cache = maker._cache  # noqa: SLF001
        self._lock = maker._lock  # noqa: SLF001
        self._recipe = recipe
        self._facts = facts
        self._made: Extraction | None = None
        self._most = DEVICE_BATCH * facts.key.device_count
        self._batch = self._most
        self.notes: list[str] = []
        self.image_seconds = 0.0

    def arrays(self, names: list[str]) -> dict[str, Features]:
        """The features by name: of a split, or of the mirrored training images."""
        with self._cache.alone(self._facts, self._say_that_it_waits) as folder:
            files = {name: self._file(folder, name) for name in names}
            found = {name: file.read() for name, file in files.items()}
            lacking = {name: files[name] for name, array in found.items() if array is None}
            if lacking:
                found |= self._make(lacking)
            else:
                self._say(f"features of {self._label} found in {folder}")
            if "train" in files:
                self.image_seconds = files["train"].seconds() or 0.0
        self._made = None
        return {name: array for name, array in found.items() if array is not None}

    def _make(self, lacking: dict[str, FeatureFile]) -> dict[str, Features]:
        """Compute what is missing of some arrays, and open them."""
        is_new = not any(file.is_begun() for file in lacking.values())
        if is_new and self._cache.relatives(self._facts):
            self._say(
                f"the images of {self._facts.source}, or their splits, have changed since "
                "features were cached: they are computed anew"
            )
        finished = [name for name, file in lacking.items() if file.is_finished()]
        gaps = {name: file.missing() for name, file in lacking.items()}
        for name in finished:
            self._say(
                f"cached features of {self._label} were damaged: {len(gaps[name])} of "
                f"{len(lacking[name].starts)} blocks ({name}) are computed anew"
            )
        missing = sum(len(starts) for starts in gaps.values())
        whole = sum(len(file.starts) for file in lacking.values())
        if missing < whole and not finished:
            self._say(f"features of {self._label}: {whole - missing} of {whole} blocks were there")
        needed = sum(len(gaps[name]) * file.block_bytes for name, file in lacking.items())
        for removed in self._cache.make_room(needed, self._facts.key):
            why = "the least recently used beyond the limit"
            self._say(f"features of {removed.label} were removed: {why}")
        started = time.perf_counter()
        made = {}
        for name, file in lacking.items():
            self._fill(name, file, gaps[name])
            made[name] = file.finish()
        seconds = time.perf_counter() - started
        self._say(
            f"features of {self._label}: {missing} blocks of {self._block:,} images computed in "
            f"{seconds:.1f} s"
        )
        return made

    def _fill(self, name: str, file: FeatureFile, gaps: list[int]) -> None:
        split = _split_of(name)
        unmeasured = MEASURED_BLOCKS - file.measured_blocks() if name == "train" else 0
        with file.writing() as writer:
            for start in gaps:
                stop = min(start + self._block, file.count)
                measures = unmeasured > 0
                features, seconds = self._compute(
                    split, start, stop, mirrored=name == _MIRRORED, measures=measures
                )
                writer.write(start, features, seconds if measures else None)
                unmeasured -= 1

    def _compute(
        self, split: SplitName, start: int, stop: int, *, mirrored: bool, measures: bool
    ) -> tuple[Features, float]:
        """The features of a block's images, and the seconds of one; in batches that fit."""
        while True:
            try:
                extraction = self._extraction(split)
                order = self._order(start, stop)
                with self._lock.measuring() if measures else self._lock.training():
                    before = time.perf_counter()
                    features = extraction.run(split, order, mirrored=mirrored)
                    seconds = (time.perf_counter() - before) / order.size
            except Exception as error:
                if self._batch == self._facts.key.device_count or not is_out_of_memory(error):
                    raise
                self._made = None
                self._batch //= 2
                self._say(
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

    def _extraction(self, split: SplitName) -> Extraction:
        """The backbone, compiled; it has run once, so that no block is timed with that."""
        if self._made is None:
            maker, key = self._maker, self._facts.key
            trunk = frozen_trunk(self._recipe, maker._base, key.precision)  # noqa: SLF001
            plan = StepPlan(
                batch=self._batch,
                classes=0,
                image_shape=self._dataset.train.images.shape[1:],
                resolution=key.resolution,
                interpolation=key.resize,
                scaling=key.scaling,
                augmentations=(),
                averaged=False,
            )
            module = import_module(f"effv2_tune.training.backends.{key.backend}.extraction")
            self._made = module.make_extraction(trunk, plan, maker._images())  # noqa: SLF001
            with self._lock.training():
                self._made.run(split, self._order(0, 1), mirrored=False)
        return self._made

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
        return self._most * BLOCK_BATCHES

    @property
    def _label(self) -> str:
        return f"{self._facts.key.variant}@{self._facts.key.resolution}"

    def _say_that_it_waits(self) -> None:
        self._say(f"another process computes features of {self._label}: waited for it")

    def _say(self, sentence: str) -> None:
        _log.info(sentence)
        self.notes.append(sentence)


def frozen_trunk(recipe: Recipe, base: Path, precision: str) -> Any:
    """The backbone of a recipe with its pretrained weights, without a classifier.

    Raises:
        TuneError: The weights cannot be had, or do not fit.
    """
    trunk = efficientnet_v2(
        recipe.variant,
        classes=None,
        resolution=recipe.pixels,
        trainable_from="head",
        seed=recipe.seed,
        dtype=precision,
    )
    load_weights(trunk, _pretrained(recipe, base))
    return trunk


def _pretrained(recipe: Recipe, base: Path) -> str:
    weights = weights_source(recipe, base)
    if weights is None:
        raise RuntimeError("A frozen backbone has pretrained weights.")
    return weights


def _split_of(name: str) -> SplitName:
    split: Any = "train" if name == _MIRRORED else name
    return split  # type: ignore[no-any-return]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
