"""Reads folders of images: one folder for each class, in one tree or per split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effv2_tune.data.files import IMAGE_ENDINGS, PATH_HINT, FileImages
from effv2_tune.data.pool import TEST, TRAIN, VALIDATION, Pool
from effv2_tune.errors import TuneError, did_you_mean

#: Names that the folder of a split may have.
SPLIT_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}
#: Files that operating systems create in every folder.
_SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini"))


@dataclass(frozen=True)
class Listing:
    """The image files of a folder.

    Attributes:
        root: The folder.
        paths: The files of each split, in the order of the pool.
        names: Name of the class of each file.
        left_out: Files without the suffix of an image.
    """

    root: Path
    paths: dict[int, tuple[Path, ...]]
    names: dict[int, tuple[str, ...]]
    left_out: tuple[Path, ...]


def read_folder(root: Path, classes: tuple[str, ...] | None = None) -> Pool:
    """The images of a folder, as files that are decoded later.

    A class is a folder, and classes are numbered in the alphabetical order of their names. The
    files of a split are sorted by their paths and then shuffled by ``numpy.random.default_rng(0)
    .permutation``, so that the order has nothing to do with the order of files on disk, nor with
    the classes.

    Args:
        root: The folder.
        classes: Names that the classes must have, in the order of their numbers, if the
            dataset is a known one.

    Raises:
        TuneError: If there are no images, or the classes are invalid.
    """
    listing = list_folder(root)
    named = classes or tuple(sorted(set(listing.names[TRAIN])))
    _check_class_names(listing, named)
    number = {name: label for label, name in enumerate(named)}
    splits = sorted(listing.paths)
    return Pool(
        images=FileImages(tuple(path for split in splits for path in listing.paths[split])),
        labels=np.array(
            [number[name] for split in splits for name in listing.names[split]], np.int32
        ),
        origin=np.repeat(
            np.array(splits, np.int8), [len(listing.paths[split]) for split in splits]
        ),
        classes=named,
        notes=_note_of(listing),
    )


def _note_of(listing: Listing) -> tuple[str, ...]:
    if not listing.left_out:
        return ()
    count, example = len(listing.left_out), listing.left_out[0].relative_to(listing.root)
    if count == 1:
        note = f"1 file in {listing.root} has no image suffix and was left out: {example}."
    else:
        note = (
            f"{count:,} files in {listing.root} have no image suffix and were left out, "
            f"such as {example}."
        )
    return (note,)


def list_folder(root: Path) -> Listing:
    """Find the image files under ``root``, without opening one.

    Raises:
        TuneError: If the folder is not there, has no class folders, or one without images.
    """
    if not root.is_dir():
        raise TuneError(
            f"{root} is a file, not a folder." if root.exists() else f"There is no folder {root}.",
            hint=PATH_HINT,
        )
    left_out: list[Path] = []
    paths, names = {}, {}
    for split, folder in _split_folders(root).items():
        found = _files_by_class(folder, left_out)
        order = np.random.default_rng(0).permutation(len(found))
        paths[split] = tuple(found[index][0] for index in order)
        names[split] = tuple(found[index][1] for index in order)
    return Listing(root, paths, names, tuple(sorted(left_out)))


def image_files(folder: Path) -> list[Path]:
    """All files below a folder that have the suffix of an image, sorted by path."""
    found = (Path(parent, file) for parent, _, files in os.walk(folder) for file in files)
    return sorted(
        path for path in found if path.suffix.lower() in IMAGE_ENDINGS and is_user_file(path)
    )


def is_user_file(path: Path) -> bool:
    """Whether the user put the file there, rather than an operating system."""
    return not path.name.startswith(".") and path.name.lower() not in _SYSTEM_FILES


def _split_folders(root: Path) -> dict[int, Path]:
    """The folder of each split; the root itself, for training, if it holds the classes."""
    inside = _subfolders(root)
    if not inside:
        raise TuneError(
            f"{root} has no folders in it.",
            hint="Put the images of each class into one folder, named like the class.",
        )
    named = [folder for folder in inside if folder.name.lower() in SPLIT_FOLDERS]
    trains = [folder for folder in named if SPLIT_FOLDERS[folder.name.lower()] == TRAIN]
    # A folder "train" with images in it is a class of that name: locomotives, say.
    if not trains or not any(_subfolders(folder) for folder in trains):
        return {TRAIN: root}
    others = [folder.name for folder in inside if folder not in named]
    if others:
        raise TuneError(
            f"{root} has splits ({', '.join(folder.name for folder in named)}) and, beside them, "
            f"{others[0]!r}.",
            hint="Keep only the folders train, val and test there, or only folders of classes.",
        )
    splits = {SPLIT_FOLDERS[folder.name.lower()]: folder for folder in named}
    if len(splits) < len(named):
        raise TuneError(
            f"{root} has two folders for one split: {', '.join(folder.name for folder in named)}.",
            hint="Keep one folder for each of train, val and test.",
        )
    return splits


def _files_by_class(folder: Path, left_out: list[Path]) -> list[tuple[Path, str]]:
    """Each image with its class, sorted by path; other files join ``left_out``."""
    classes = _subfolders(folder)
    if not classes:
        raise TuneError(
            f"{folder} has no folders of classes in it.",
            hint="Put the images of each class into one folder, named like the class.",
        )
    left_out += [path for path in folder.iterdir() if path.is_file() and is_user_file(path)]
    found = []
    for class_folder in classes:
        images = []
        for parent, _, files in os.walk(class_folder):
            for path in (Path(parent, file) for file in files):
                if path.suffix.lower() in IMAGE_ENDINGS and is_user_file(path):
                    images.append((path, class_folder.name))
                elif is_user_file(path):
                    left_out.append(path)
        if not images:
            raise TuneError(
                f"The class folder {class_folder} holds no images.",
                hint=f"Add images ({', '.join(sorted(IMAGE_ENDINGS))}) or remove the folder.",
            )
        found += images
    return sorted(found, key=lambda pair: pair[0].relative_to(folder).as_posix())


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _check_class_names(listing: Listing, classes: tuple[str, ...]) -> None:
    for split, names in listing.names.items():
        unknown = sorted(set(names) - set(classes))
        if unknown:
            where = next(
                path.parent
                for path, name in zip(listing.paths[split], names, strict=True)
                if name == unknown[0]
            )
            raise TuneError(
                f"{where} is a class that cannot be learned: the training classes do not "
                f"include {unknown[0]!r}{did_you_mean(unknown[0], classes) or '.'}",
                hint="Give every split the same class folders, spelt alike.",
            )
