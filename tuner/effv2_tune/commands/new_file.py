"""Writes the output file of a command, and never overwrites an existing one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Callable


def output_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the option ``-o``, as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        help="The file to write; an existing one is never overwritten.",
    )


def write_new(output: Path, text: str, *, next_command: str, found: str | None = None) -> None:
    """Write ``text`` to the new file ``output``; print its path, and the command to run next.

    Args:
        output: The file.
        text: Its content.
        next_command: Suggested on stderr.
        found: Printed instead of the path.

    Raises:
        TuneError: The file is there already, or cannot be written.
    """
    hint = "Choose another file: -o FILE"
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TuneError(f"{output} exists already, and is not overwritten.", hint=hint) from None
    except OSError as error:
        raise TuneError(f"{output} cannot be written: {error.strerror}.", hint=hint) from None
    click.echo(str(output) if found is None else found)
    click.echo(f"Next: effv2-tune {next_command} {shlex.quote(str(output))}", err=True)
