"""Loads the dataset of a study's data section."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.data.arrays import check_npz, read_digits, read_npz
from effv2_tune.data.dataset import Dataset, Split, dataset_digest
from effv2_tune.data.folder import read_folder
from effv2_tune.data.pool import Pool, check_classes
from effv2_tune.data.progress import OnProgress, Progress, ignore_progress
from effv2_tune.data.published import check_published, published_files, read_published
from effv2_tune.data.registry import KNOWN, KnownDataset
from effv2_tune.data.splitting import SplitIndices, split_pool
from effv2_tune.data.storage_options import MEMORY_LIMIT_BYTES, StorageOptions, available_cores
from effv2_tune.data.store import ImageStore, map_images, one_at_a_time
from effv2_tune.data.table import read_table
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.cache import cache_folder
from effv2_tune.files.copied_folder import copied_folder, is_remote
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.remote import RemoteError
from effv2_tune.host import install_command
from effv2_tune.study.recipe import TRAIN_AND_VALIDATION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from effv2_tune.data.dataset import Images, Labels
    from effv2_tune.files.download import PublishedFile
    from effv2_tune.study.recipe import DataSpec


def load_dataset(
    spec: DataSpec,
    *,
    base: Path,
    cache: Path | None = None,
    on_progress: OnProgress | None = None,
    storage_size: int | None = None,
    memory_limit: int = MEMORY_LIMIT_BYTES,
    cores: int | None = None,
    shared: bool = False,
    known: Mapping[str, KnownDataset] = KNOWN,
) -> Dataset:
    """Load, split and digest the dataset that ``spec`` names.

    Args:
        spec: The study's data section.
        base: Folder that a relative ``path:`` starts from: the study file's.
        cache: Folder for downloads and decoded images, instead of
            :func:`~effv2_tune.files.cache.cache_folder`.
        on_progress: Called with the progress of downloads and decoding.
        storage_size: Side in pixels at which images of mixed sizes are stored if ``spec``
            specifies none: the largest resolution that the study searches.
        memory_limit: Images decoded from files stay in memory up to so many bytes; more are
            decoded once into a memory-mapped file in the cache. The result is the same.
        cores: Threads that decode; all cores if left out.
        shared: Whether several processes load it: they do so one after another, and map its images
            from one file in the cache.
        known: The datasets that have a name.

    Raises:
        TuneError: If the dataset cannot be used; nothing is left half-written.
    """
    options = StorageOptions(
        side=spec.storage_size,
        default_side=storage_size,
        fit=spec.fit,
        cache=cache or cache_folder("datasets"),
        memory_limit=memory_limit,
        cores=cores or available_cores(),
        on_progress=on_progress or ignore_progress,
    )
    path = _fetched(spec, base, options)
    source = known.get(spec.name)
    if not shared:
        return _load(spec, path, source, options)
    with one_at_a_time(options.cache):
        return _mapped(_load(spec, path, source, options), options.cache)


def _load(
    spec: DataSpec, path: Path | None, known: KnownDataset | None, options: StorageOptions
) -> Dataset:
    pool = _read_local(spec, path) if known is None else read_published(known, path, options)
    check_classes(pool, str(path or spec.name))
    indices = split_pool(pool, spec)
    if spec.train_on == TRAIN_AND_VALIDATION:
        return _trained_on_both(pool, indices, options)
    wanted = (indices.train, indices.validation, indices.test)
    train, validation, test = (
        _read_only(images, pool.labels[positions])
        for images, positions in zip(pool.images.gather(wanted, options), wanted, strict=True)
    )
    digest = dataset_digest((train, validation, test), len(pool.classes), indices.folds)
    return Dataset(train, validation, test, pool.classes, digest, pool.notes, fold_of=indices.folds)


def _trained_on_both(pool: Pool, indices: SplitIndices, options: StorageOptions) -> Dataset:
    """The dataset whose training images are those of the training and the validation split."""
    positions = np.concatenate([indices.train, indices.validation])
    images, test_images = pool.images.gather((positions, indices.test), options)
    both = _read_only(images, pool.labels[positions])
    test = _read_only(test_images, pool.labels[indices.test])
    count, classes = len(indices.train), len(pool.classes)
    train, validation = (
        Split(both.images[part], both.labels[part]) for part in (slice(count), slice(count, None))
    )
    split_digest = dataset_digest((train, validation, test), classes, indices.folds)
    return Dataset(
        both,
        Split(both.images[:0], both.labels[:0]),
        test,
        pool.classes,
        hashlib.sha256(f"{TRAIN_AND_VALIDATION} of {split_digest}".encode()).hexdigest(),
        pool.notes,
        added=len(validation),
        split_digest=split_digest,
    )


def _mapped(dataset: Dataset, cache: Path) -> Dataset:
    """The dataset with images mapped from a file that other processes map too."""
    splits = (dataset.train, dataset.validation, dataset.test)
    if all(isinstance(split.images, np.memmap) for split in splits):
        return dataset
    arrays = [split.images for split in splits]
    images = map_images(arrays, cache / "shared", key=dataset.digest)
    train, validation, test = (
        replace(split, images=mapped) for split, mapped in zip(splits, images, strict=True)
    )
    return replace(dataset, train=train, validation=validation, test=test)


@dataclass(frozen=True)
class ImageCounts:
    """The number of images in each split, and of classes.

    Attributes:
        train: Training images of one training.
        validation: Validation images; with folds, those of the first fold.
        test: Test images.
        classes: Classes.
        folds: Trainings of a config; 1 without folds.
    """

    train: int
    validation: int
    test: int
    classes: int
    folds: int = 1

    @property
    def scored(self) -> int:
        """The images that a quality is measured on: with folds, those of all folds."""
        return self.validation if self.folds == 1 else self.train + self.validation


def count_images(spec: DataSpec, *, base: Path) -> ImageCounts | None:
    """Count the images of a dataset after its split, without decoding them.

    Args:
        spec: The study's data section.
        base: Folder that a relative ``path:`` starts from.

    Returns:
        None for a dataset that may not be downloaded yet: one with a name, or in a bucket.

    Raises:
        TuneError: If the dataset cannot be used.
    """
    if spec.name in KNOWN or _is_remote(spec):
        return None
    pool = _read_local(spec, _path_of(spec, base))
    indices = split_pool(pool, spec)
    train, validation, test = map(len, (indices.train, indices.validation, indices.test))
    return ImageCounts(train, validation, test, len(pool.classes), spec.folds or 1)


def missing_downloads(spec: DataSpec) -> list[PublishedFile]:
    """The files that are downloaded when a dataset is loaded; those in the cache are verified.

    Args:
        spec: The study's data section.
    """
    if spec.path is not None or spec.name not in KNOWN:
        return []
    files = published_files(KNOWN[spec.name], cache_folder("datasets"))
    return [file for file in files if not file.is_cached]


def check_dataset(spec: DataSpec, *, base: Path) -> list[str]:
    """Validate a dataset as far as possible without decoding or downloading it.

    Args:
        spec: The study's data section.
        base: Folder that a relative ``path:`` starts from.

    Returns:
        Error messages with their hints; none if nothing is wrong so far.
    """
    try:
        mistakes = _mistakes_in(spec, base)
    except TuneError as error:
        mistakes = [error]
    return [str(mistake).replace("\n", " ") for mistake in mistakes]


def _mistakes_in(spec: DataSpec, base: Path) -> list[TuneError]:
    if _is_remote(spec):
        return []
    path = _path_of(spec, base)
    if spec.name in KNOWN:
        return [] if path is None else check_published(KNOWN[spec.name], path)
    if path is not None and spec.name == "npz":
        return check_npz(path)
    pool = _read_local(spec, path)
    check_classes(pool, str(path or spec.name))
    split_pool(pool, spec)
    return []


def _is_remote(spec: DataSpec) -> bool:
    return spec.path is not None and is_remote(spec.path)


def _fetched(spec: DataSpec, base: Path, options: StorageOptions) -> Path | None:
    """The path of a dataset on this machine, into whose cache a remote folder is copied first.

    Raises:
        TuneError: It cannot be copied.
    """
    if spec.path is None or not is_remote(spec.path):
        return _path_of(spec, base)

    def report(done: int, count: int) -> None:
        options.on_progress(Progress(f"copying {spec.path}", done, count, "files"))

    try:
        with disk_errors(f"The images cannot be copied to {options.cache}", hint=ImageStore.hint):
            return copied_folder(spec.path, options.cache / "copied", report)
    except RemoteError as error:
        raise TuneError(
            f"data: path: {spec.path} cannot be read: {error}",
            hint="Check the address, and that this machine has credentials for it.",
            exit_code=EXIT_FAILED,
        ) from error
    except ImportError as error:
        raise TuneError(
            f"data: path: {spec.path} needs a package that is not installed ({error}).",
            hint=f"For gs:// and s3://, on every node: {install_command('mirror')}",
        ) from error


def _path_of(spec: DataSpec, base: Path) -> Path | None:
    return None if spec.path is None else base / spec.path


def _read_local(spec: DataSpec, path: Path | None) -> Pool:
    """The images of a dataset without a download; image files are decoded later."""
    if path is None:
        return read_digits()
    if spec.name == "npz":
        return read_npz(path)
    if spec.name == "folder":
        return read_folder(path)
    return read_table(path, {str(meaning): name for meaning, name in (spec.columns or {}).items()})


def _read_only(images: Images, labels: Labels) -> Split:
    images.flags.writeable = False
    labels.flags.writeable = False
    return Split(images, labels)
