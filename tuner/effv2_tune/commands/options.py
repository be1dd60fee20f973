"""Defines the arguments and option types that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class _Count(click.IntRange):
    name = "whole number"


class _Positive(click.FloatRange):
    name = "number"


COUNT = _Count(min=1)
POSITIVE = _Positive(min=0, min_open=True)


study_folder = click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the study.  [default: runs/NAME]"
)
storage = click.option(
    "--storage",
    metavar="URL",
    envvar="EFFV2_TUNE_RUN_STORAGE",
    show_envvar=True,
    help="Database for several machines; SQLite in the folder if left out. Its password can be in "
    "~/.pgpass or PGPASSWORD instead.",
)
session_hours = click.option(
    "--session-hours",
    type=POSITIVE,
    metavar="H",
    help="Hours until this call ends: it saves what is running and exits with 0. The same command "
    "continues.",
)


def study_location(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument FOLDER and the option ``--name``, as ``folder`` and ``name``."""
    named = click.option(
        "--name", help="Name of the study, where FOLDER is the URL of a database with several."
    )(function)
    return click.argument("folder", callback=_located)(named)


def study_locations(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one or more FOLDERs and the option ``--name``, as ``folders`` and ``name``."""
    named = click.option(
        "--name", help="Name of the study, where FOLDER is the URL of a database with several."
    )(function)
    return click.argument(
        "folders", nargs=-1, required=True, metavar="FOLDER...", callback=_all_located
    )(named)


def _all_located(
    context: click.Context, parameter: click.Parameter, folders: tuple[str, ...]
) -> tuple[str | Path, ...]:
    return tuple(_located(context, parameter, folder) for folder in folders)


def _located(_context: click.Context, _parameter: click.Parameter, folder: str) -> str | Path:
    from effv2_tune.session.location import locate_study

    return locate_study(folder)
