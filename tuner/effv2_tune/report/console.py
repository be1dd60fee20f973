"""Prints tables, messages and progress with control characters escaped."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import rich.console

from effv2_tune.errors import printable
from effv2_tune.wrapping import wrapped

if TYPE_CHECKING:
    from rich.text import Text


class Console(rich.console.Console):
    """Rich's console, which escapes control characters in the strings that it prints.

    Strings are wrapped at words on a terminal, and nowhere in a pipe. Rich would break words that
    are longer than a line, such as paths.
    """

    @property
    def file(self) -> IO[str]:
        """The terminal itself, past every stream in front of it.

        While bars are shown, Rich's proxy is in front of the stream that escapes what commands
        print (:mod:`effv2_tune.commands.escaping`). Rich looks behind one of the two, and the
        codes that move the bars would be escaped by the other.
        """
        stream = super().file
        while (behind := getattr(stream, "rich_proxied_file", None)) is not None:
            stream = behind
        return stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich does; strings are wrapped as messages are."""
        if not all(isinstance(each, str) for each in objects):
            super().print(*objects, **options)
            return
        width = self.width if self.is_terminal else None
        texts = [wrapped(printable(each), width) for each in objects]
        super().print(*texts, **options | {"soft_wrap": True})

    def render_str(self, text: str, **options: Any) -> Text:
        """As Rich does, after escaping; called for each printed string and each cell of a table."""
        return super().render_str(printable(text), **options)
