"""Locates trained models and the images that are given to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.session.location import RUNS
from effv2_tune.study.training_run import MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data.decode import UnreadableImageError


def locate_model(place: Path) -> Path:
    """The model file that the user names: itself, the folder of its training, or that in ``runs/``.

    Args:
        place: As written; what it names need not exist.
    """
    if place.is_dir():
        return place / MODEL_FILE
    named = RUNS / place / MODEL_FILE
    return named if not place.exists() and named.is_file() else place


def find_images(places: Sequence[Path]) -> list[Path]:
    """The image files that the user names, each once, in order; of a folder, all below it, sorted.

    Raises:
        TuneError: With everything that is missing, or is no image; of each file only the header is
            read.
    """
    from effv2_tune.data.files import shortened

    found: dict[Path, None] = {}
    mistakes: list[str] = []
    for place in places:
        images = list(_images_at(place))
        found |= dict.fromkeys(images)
        if not images:
            is_there = place.exists()
            mistakes.append(
                f"{place}: a folder without images" if is_there else f"{place}: does not exist"
            )
    mistakes += [f"{error.path}: {error.reason}" for error in _without_header(list(found))]
    if mistakes:
        noun = "image" if len(mistakes) == 1 else "images"
        raise TuneError(
            f"{len(mistakes):,} {noun} cannot be read:\n{shortened(mistakes)}", hint=_formats()
        )
    return list(found)


def unreadable_error(errors: Sequence[UnreadableImageError]) -> TuneError:
    """The error of images whose header is valid, and whose pixels are not."""
    from effv2_tune.data.files import shortened

    lines = sorted(f"{error.path}: {error.reason}" for error in errors)
    noun = "image" if len(lines) == 1 else "images"
    return TuneError(
        f"{len(lines):,} {noun} cannot be decoded and left out:\n{shortened(lines)}",
        hint="Repair or remove them; all others have their predictions above.",
    )


def _images_at(place: Path) -> Iterator[Path]:
    from effv2_tune.data.folder import image_files

    if place.is_dir():
        yield from image_files(place)
    elif place.exists():
        yield place


def _without_header(paths: Sequence[Path]) -> list[UnreadableImageError]:
    """The errors of all files that have no valid image header, in order."""
    from effv2_tune.data.decode import UnreadableImageError, size_of

    def error_of(path: Path) -> UnreadableImageError | None:
        try:
            size_of(path)
        except UnreadableImageError as error:
            return error
        return None

    # Threads wait for a network's disk, not for each other.
    with ThreadPoolExecutor() as threads:
        return [error for error in threads.map(error_of, paths) if error is not None]


def _formats() -> str:
    from effv2_tune.data.files import IMAGE_ENDINGS

    endings = ", ".join(sorted(IMAGE_ENDINGS))
    return f"Name image files ({endings}), or folders with such files in them."
