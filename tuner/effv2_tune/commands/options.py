"""How a command is told which study it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def study_location(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument FOLDER and the option ``--name``, as ``folder`` and ``name``."""
    named = click.option(
        "--name", help="Which study, where FOLDER is the URL of a database that holds several."
    )(function)
    return click.argument("folder")(named)
