"""Prints tables and progress with control characters escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich.console

from effv2_tune.errors import printable

if TYPE_CHECKING:
    from rich.text import Text


class Console(rich.console.Console):
    """Rich's console, which escapes control characters in the strings that it prints."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As Rich does, after escaping; called for each printed string and each cell of a table."""
        return super().render_str(printable(text), **options)
