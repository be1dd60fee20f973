"""Reads images stored as arrays: scikit-learn's digits, and npz files."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from effv2_tune.data.decode import fit_square
from effv2_tune.data.files import require_file
from effv2_tune.data.pool import TRAIN, Indices, Pool, checked_labels
from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from effv2_tune.data.dataset import Images, Labels
    from effv2_tune.data.storage_options import StorageOptions

#: How the images and labels of each split may be called in an npz.
_KEYS = (
    (("x_train", "y_train"), ("x", "y")),
    (("x_val", "y_val"), ("x_validation", "y_validation")),
    (("x_test", "y_test"),),
)
_GREY, _COLOUR = 3, 4  # dimensions of [count, height, width] and [count, height, width, channels]

Shapes = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, in one or more arrays of equal image shape.

    Attributes:
        parts: Arrays [count, height, width, 3] uint8, one after the other in the pool.
    """

    parts: tuple[Images, ...]

    def gather(self, wanted: Sequence[Indices], options: StorageOptions) -> list[Images]:
        """One array for each array of positions, resized if the stored size differs."""
        height, width = self.parts[0].shape[1:3]
        side = options.stored_side([(width, height)])
        return [_fitted(self._take(positions), side, options) for positions in wanted]

    def _take(self, positions: Indices) -> Images:
        gathered = np.empty((len(positions), *self.parts[0].shape[1:]), np.uint8)
        start = 0
        for part in self.parts:
            inside = (positions >= start) & (positions < start + len(part))
            gathered[inside] = part[positions[inside] - start]
            start += len(part)
        return gathered


@dataclass(frozen=True)
class NpzImages:
    """Images in an npz, which are read when they are gathered.

    Attributes:
        path: The file.
        keys: Of the arrays, one after the other in the pool.
    """

    path: Path
    keys: tuple[str, ...]

    def gather(self, wanted: Sequence[Indices], options: StorageOptions) -> list[Images]:
        """As of :class:`ArrayImages`."""
        with np.load(self.path, allow_pickle=False) as file:
            parts = tuple(as_colour(file[key]) for key in self.keys)
        return ArrayImages(parts).gather(wanted, options)


def _fitted(images: Images, side: int, options: StorageOptions) -> Images:
    """Arrays of another size as squares of ``side`` pixels, on all cores."""
    if images.shape[1:3] == (side, side):
        return images
    from PIL import Image

    fitted = np.empty((len(images), side, side, 3), np.uint8)

    def fit(index: int) -> None:
        fitted[index] = np.asarray(fit_square(Image.fromarray(images[index]), side, options.fit))

    with ThreadPoolExecutor(options.cores) as threads:
        list(threads.map(fit, range(len(images))))
    return fitted


def read_digits() -> Pool:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, in their original order.

    Grey values from 0 to 16 become round(255 value / 16), the same in three channels. A fifth of
    the images is the default test split.
    """
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    grey = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Pool(
        images=ArrayImages((as_colour(grey),)),
        labels=labels.astype(np.int32),
        origin=np.zeros(len(labels), np.int8),
        classes=tuple(str(digit) for digit in range(10)),
        default_test=0.2,
    )


def as_colour(images: npt.NDArray[np.uint8]) -> Images:
    """[count, height, width] or [..., 1] with the grey value in three channels; [..., 3] as is."""
    if images.ndim == _GREY:
        images = images[..., None]
    return images if images.shape[-1] == 3 else np.repeat(images, 3, axis=-1)  # noqa: PLR2004 - RGB


def read_npz(path: Path, classes: tuple[str, ...] | None = None) -> Pool:
    """The images of an npz: ``x_train, y_train`` (or ``x, y``), and ``_val``, ``_test`` if there.

    Args:
        path: The file.
        classes: Names of the classes of a known dataset; else the file's
            ``classes``, or the class numbers as text.

    Raises:
        TuneError: If keys, dtypes, shapes or labels are invalid.
    """
    mistakes = check_npz(path)
    if mistakes:
        raise mistakes[0]
    shapes = _npz_shapes(path)
    with np.load(path, allow_pickle=False) as file:
        keys, labels, origin = [], [], []
        for split, (images, of_images) in _keys_in(list(file.files)).items():
            count = shapes[images][0][0]
            keys.append(images)
            labels.append(checked_labels(file[of_images], count, f"{of_images} of {path}"))
            origin.append(np.full(count, split, np.int8))
        named = tuple(str(name) for name in file["classes"]) if "classes" in file.files else None
    joined = np.concatenate(labels)
    return Pool(
        images=NpzImages(path, tuple(keys)),
        labels=joined,
        origin=np.concatenate(origin),
        classes=classes or named or _numbered_classes(joined, path),
    )


def check_npz(path: Path) -> list[TuneError]:
    """Validate an npz by the headers of its arrays alone; returns the mistakes in its images.

    Raises:
        TuneError: It cannot be read, or has no training images.
    """
    require_file(path)
    try:
        shapes = _npz_shapes(path)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise TuneError(
            f"{path} is not an npz file that NumPy can read ({error}).",
            hint="Write it again with numpy.savez(path, x_train=..., y_train=...).",
        ) from error
    keys = _keys_in(list(shapes))
    if TRAIN not in keys:
        raise TuneError(
            f"{path} has the arrays {', '.join(sorted(shapes)) or 'none'}; expected x_train and "
            "y_train (or x and y).",
            hint="Save the images as x_train, the labels as y_train, and the test images as "
            "x_test and y_test.",
        )
    checked = [_image_mistake(path, images, *shapes[images]) for images, _ in keys.values()]
    mistakes = [mistake for mistake in checked if mistake]
    sizes = {shapes[images][0][1:3] for images, _ in keys.values()}
    if not mistakes and len(sizes) > 1:
        listed = " and ".join(f"{height} x {width}" for height, width in sorted(sizes))
        mistakes.append(
            TuneError(
                f"The splits of {path} have images of different sizes: {listed}.",
                hint="Bring all of them to one size before saving.",
            )
        )
    return mistakes


def _npz_shapes(path: Path) -> Shapes:
    """Shape and type of each array, without reading its values."""
    shapes: Shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, kind = read(member)
                shapes[name.removesuffix(".npy")] = (shape, kind)
    return shapes


def _keys_in(names: Sequence[str]) -> Mapping[int, tuple[str, str]]:
    """For each split that is there, its code and the names of its images and labels."""
    found = {}
    for split, choices in enumerate(_KEYS):
        for images, labels in choices:
            if images in names and labels in names:
                found[split] = (images, labels)
                break
    return found


def _image_mistake(
    path: Path, key: str, shape: tuple[int, ...], kind: np.dtype[Any]
) -> TuneError | None:
    if kind != np.uint8:
        return TuneError(
            f"{key} of {path} is {kind}; images are uint8, from 0 to 255.",
            hint="Convert them before saving: (images * 255).round().astype('uint8') if they run "
            "from 0 to 1.",
        )
    coloured = len(shape) == _COLOUR and shape[-1] in (1, 3)
    if not (coloured or len(shape) == _GREY):
        return TuneError(
            f"{key} of {path} has shape {shape}; expected [count, height, width, 3], or grey "
            "images as [count, height, width] or [count, height, width, 1].",
            hint="Put the channels last, and leave out an alpha channel.",
        )
    if 0 in shape:
        return TuneError(f"{key} of {path} is empty.", hint="Save at least some images in it.")
    return None


def _numbered_classes(labels: Labels, path: Path) -> tuple[str, ...]:
    """The class numbers as text.

    Raises:
        TuneError: If a class below the largest label has no image: a sign of labels from 1.
    """
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise TuneError(
            f"The labels of {path} run up to {labels.max()}, but not all classes from 0 have "
            f"images; {gaps[0]} has none.",
            hint="Number the classes 0, 1, 2 and so on, without a gap, or save the names of all "
            "classes as 'classes'.",
        )
    return tuple(str(label) for label in present)
