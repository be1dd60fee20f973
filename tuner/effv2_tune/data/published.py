"""Loads known datasets: downloads them, or reads any of their published forms from disk."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.data.arrays import ArrayImages, as_colour, check_npz, read_npz
from effv2_tune.data.folder import list_folder, read_folder
from effv2_tune.data.formats import Part, read_batch, read_idx
from effv2_tune.data.pool import TEST, TRAIN, Pool, check_label_range
from effv2_tune.data.progress import Progress
from effv2_tune.errors import TuneError
from effv2_tune.files.download import Digest, PublishedFile, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data.progress import OnProgress
    from effv2_tune.data.registry import KnownDataset
    from effv2_tune.data.storage_options import StorageOptions
    from effv2_tune.files.download import OnBytes

_FALLBACK_HINT = (
    "Without internet access, fetch the data set by other means and specify its path as 'path:' in "
    "the study's data."
)


@dataclass(frozen=True)
class LocalCopy:
    """A known dataset on disk.

    Attributes:
        kind: ``npz``, ``images`` (a folder of image files), ``tar``, or ``members`` (a folder
            with the published files).
        path: The file or folder.
    """

    kind: str
    path: Path


def read_published(known: KnownDataset, path: Path | None, options: StorageOptions) -> Pool:
    """Read a known dataset from ``path`` or, without one, from the cache or the network.

    The order is that of the published files, in which published splits count; a folder of images
    has the order of :func:`~effv2_tune.data.folder.read_folder`.

    Raises:
        TuneError: If it is missing, cannot be read, or cannot be downloaded.
    """
    copy = _downloaded(known, options) if path is None else find_published(known, path)
    if copy.kind == "npz":
        return read_npz(copy.path, known.classes)
    if copy.kind == "images":
        return read_folder(copy.path, known.classes)
    with _opened(known, copy) as read:
        train, test = (Part.joined(list(_parts(known, names, read))) for names in known.members)
    return Pool(
        images=ArrayImages((train.images, test.images)),
        labels=np.concatenate([train.labels, test.labels]),
        origin=np.repeat(np.array([TRAIN, TEST], np.int8), [len(train.labels), len(test.labels)]),
        classes=known.classes,
    )


def find_published(known: KnownDataset, path: Path) -> LocalCopy:
    """Find the form of a known dataset at ``path``, without reading it.

    Raises:
        TuneError: If there is nothing, or not this dataset.
    """
    hint = (
        f"Accepted are the folder {known.folder}, "
        + (f"{known.remote[0].name}, " if known.form == "batches" else "")
        + f"{known.name}.npz, and a folder train/<class>/ with test/<class>/; without 'path:', "
        "the dataset is downloaded."
    )
    if not path.exists():
        raise TuneError(f"There is no file or folder {path}.", hint=hint)
    if path.is_file():
        if path.suffix == ".npz":
            return LocalCopy("npz", path)
        if known.form == "batches" and path.name.endswith((".tar.gz", ".tgz", ".tar")):
            return LocalCopy("tar", path)
        raise TuneError(f"{path} is not a readable form of {known.name}.", hint=hint)
    for folder in (path, path / known.folder):
        if _has_member(folder, known.members[0][0]):
            _check_members(known, folder)
            return LocalCopy("members", folder)
    if (path / f"{known.name}.npz").is_file():
        return LocalCopy("npz", path / f"{known.name}.npz")
    if (path / "train").is_dir():
        return LocalCopy("images", path)
    raise TuneError(f"{path} has no readable form of {known.name}.", hint=hint)


def check_published(known: KnownDataset, path: Path) -> list[TuneError]:
    """Validate a known dataset on disk; of its published files, the contents too.

    Returns:
        The mistakes in the images of an npz.

    Raises:
        TuneError: It is missing, incomplete or another dataset.
    """
    copy = find_published(known, path)
    if copy.kind == "images":
        list_folder(copy.path)
    elif copy.kind in ("members", "tar"):
        with _opened(known, copy) as read:
            for part in chain.from_iterable(_parts(known, names, read) for names in known.members):
                check_label_range(part.labels, len(known.classes), str(path))
    return check_npz(copy.path) if copy.kind == "npz" else []


def published_files(known: KnownDataset, cache: Path) -> list[PublishedFile]:
    """The files that a known dataset is downloaded as, and their places in the cache.

    Args:
        known: The dataset.
        cache: Folder of downloaded datasets.
    """
    return [
        PublishedFile(
            urls=file.urls,
            destination=cache / known.name / file.name,
            digest=Digest("sha256", file.sha256),
            fallback_hint=_FALLBACK_HINT,
        )
        for file in known.remote
    ]


def _downloaded(known: KnownDataset, options: StorageOptions) -> LocalCopy:
    paths = [
        fetch(file, on_bytes=_bytes_of(file.destination.name, options.on_progress))
        for file in published_files(known, options.cache)
    ]
    if known.form == "batches":
        return LocalCopy("tar", paths[0])
    return LocalCopy("members", paths[0].parent)


def _bytes_of(name: str, on_progress: OnProgress) -> OnBytes:
    """Report the bytes of a download as progress."""
    return lambda done, total: on_progress(Progress(f"downloading {name}", done, total, "bytes"))


def _has_member(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def _check_members(known: KnownDataset, folder: Path) -> None:
    missing = [name for names in known.members for name in names if not _has_member(folder, name)]
    if missing:
        raise TuneError(
            f"{folder} lacks {', '.join(missing)}.",
            hint=f"Unpack all of {known.name} there, or leave 'path:' out to download it.",
        )


def _read_plain_or_gzip(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    packed = path.with_name(f"{path.name}.gz")
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise TuneError(
            f"{packed} cannot be unpacked ({error}).", hint="Fetch the file again."
        ) from error


@contextlib.contextmanager
def _opened(known: KnownDataset, copy: LocalCopy) -> Iterator[Callable[[str], bytes]]:
    """Open the published members; yields what returns the bytes of a member."""
    if copy.kind == "members":
        yield lambda name: _read_plain_or_gzip(copy.path / name)
        return
    try:
        with tarfile.open(copy.path) as archive:
            yield lambda name: _member(archive, f"{known.folder}/{name}")
    except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError) as error:
        raise TuneError(
            f"{copy.path} cannot be unpacked as the archive of {known.name} ({error}).",
            hint="Fetch it again, or leave 'path:' out to download it.",
        ) from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """The bytes of a member; links and folders have none."""
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _parts(
    known: KnownDataset, names: Sequence[str], read: Callable[[str], bytes]
) -> Iterator[Part]:
    """The images of a split, file after file; ``read`` returns a member's bytes."""
    if known.form == "idx":
        images, labels = (read_idx(read(name), name) for name in names)
        yield Part.of(as_colour(images), labels, names[1])
        return
    for name in names:
        yield read_batch(read(name), name, known.label_key)
