"""Writes the output file of a command, and never overwrites an existing one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from pathlib import Path


def write_new(output: Path, text: str) -> None:
    """Write ``text`` to the new file ``output``.

    Raises:
        TuneError: The file is there already, or cannot be written.
    """
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TuneError(
            f"{output} exists already, and is not overwritten.", hint="Choose another file: -o FILE"
        ) from None
    except OSError as error:
        raise TuneError(
            f"{output} cannot be written: {error.strerror}.", hint="Choose another file: -o FILE"
        ) from None
