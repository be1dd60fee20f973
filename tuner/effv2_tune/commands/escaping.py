"""Escapes control characters in what commands print, and wraps their messages at words."""

from __future__ import annotations

import contextlib
import sys
from typing import IO, TYPE_CHECKING, Any, cast

from effv2_tune.errors import printable
from effv2_tune.wrapping import terminal_width, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Escape control characters on stdout and stderr, and wrap what a terminal shows of stderr.

    All on stderr are messages. Stdout has data, too, such as JSON, which stays as it is; messages
    for it are wrapped by :mod:`effv2_tune.commands.messages`.

    Names of classes and files come from others, and a terminal would obey what is in them. Rich's
    consoles write past it: they need control characters, and escape those of their texts
    (:mod:`effv2_tune.report.console`).
    """
    with (
        contextlib.redirect_stdout(cast("IO[str]", _Escaped(sys.stdout))),
        contextlib.redirect_stderr(cast("IO[str]", _Wrapped(sys.stderr))),
    ):
        yield


class _Escaped:
    """A text stream that escapes control characters, except line breaks and tabs.

    Args:
        stream: Where the text goes.

    Attributes:
        rich_proxied_file: As given; the name under which Rich looks for it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the escaped text; returns the length of the text as given."""
        self.rich_proxied_file.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the escaped texts."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        """Everything else is as in the stream; its buffer, which takes bytes, is hidden."""
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.rich_proxied_file, name)


class _Wrapped(_Escaped):
    """An escaped stream whose lines are wrapped at words where it is a terminal."""

    def write(self, text: str) -> int:
        """Write the wrapped text; returns the length of the text as given."""
        super().write(wrapped(printable(text), terminal_width(self.rich_proxied_file)))
        return len(text)
