"""Reads the fenced code blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELLS = ("console", "sh", "bash", "shell")


class Block(NamedTuple):
    """A fenced block of a page; `title` is the file that it shows, or empty."""

    page: str
    line: int
    language: str
    title: str
    text: str


def blocks(pages: Iterable[Path] = PAGES) -> Iterator[Block]:
    """The blocks that have a language, in the order of the pages; outputs have none."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 1
            title = re.search(r'title="([^"]+)"', found.group(2))
            name = title.group(1) if title else ""
            yield Block(page.name, line, found.group(1), name, found.group(3))


def command_lines(block: Block) -> Iterator[str]:
    """The commands of a block as typed, each on one line, without prompt and comment."""
    for line in block.text.replace("\\\n", " ").splitlines():
        typed = line.removeprefix("$ ").split(" #")[0].strip()
        if typed and not typed.startswith("#"):
            yield typed
