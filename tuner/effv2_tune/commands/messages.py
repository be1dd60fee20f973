"""Prints messages to stdout, wrapped at words on a terminal."""

from __future__ import annotations

import sys

import click

from effv2_tune.errors import printable
from effv2_tune.wrapping import terminal_width, wrapped


def print_message(text: str) -> None:
    """Print a message to stdout, whose lines stay whole in a pipe; data needs ``click.echo``."""
    click.echo(wrapped(printable(text), terminal_width(sys.stdout)))
