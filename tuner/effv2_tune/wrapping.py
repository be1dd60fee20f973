"""Wraps messages at words to the width of a terminal; whatever is copied stays whole."""

from __future__ import annotations

import os
import re
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Of a terminal that does not say how wide it is.
_USUAL_WIDTH = 80
_HANGING = "  "
_LABEL_AND_TEXT = 2
#: From this share of the line on, the text beside a label is too narrow to read.
_WIDEST_LABEL = 0.4

_PROGRAM = r"(?:effv2-tune|pip install|tensorboard) "
_ARGUMENT = r"""(?:'[^']*'|"[^"]*"|[^\s;'"])+"""
#: A command in quotes, or from a colon to the end of the line or of the clause.
_COMMAND = re.compile(
    rf"""\S*?'{_PROGRAM}[^']*'\S*|\S*?"{_PROGRAM}[^"]*"\S*|\S*?`{_PROGRAM}[^`]*`\S*"""
    rf"""|(?<=:\s){_PROGRAM}{_ARGUMENT}(?: +{_ARGUMENT})*(?=$|;)"""
)
#: What is around a quoted command, and the command.
_QUOTED = re.compile(rf"""^( *[(\[]*['"`])({_PROGRAM}.*)(['"`]\S*)$""")
_BACKSLASH = " \\"
#: A path at the end of the line, which may have spaces in it.
_PATH = re.compile(r"^(?:Report|Page|Model): (.+)$")
_WORD = re.compile(rf"{_COMMAND.pattern}|\S+")
_COLUMN = re.compile(r"\S+(?: \S+)*")
_LABEL = re.compile(r"^ *\S+(?: \S+)* {2,}(?=\S)")


def terminal_width(stream: IO[str]) -> int | None:
    """The characters in a line of the terminal behind ``stream``; None where there is none.

    The environment variable ``COLUMNS`` wins, as in Rich and Click.
    """
    try:
        if not stream.isatty():
            return None
        stated = os.environ.get("COLUMNS", "")
        if stated.isdecimal() and int(stated) > 0:
            return int(stated)
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):  # a terminal without a size, and a closed stream
        return None


def wrapped(text: str, width: int | None) -> str:
    r"""Break the lines of ``text`` that are longer than ``width`` between words.

    No word is broken, so a path that is longer than the line stands alone on one and is copied
    whole. Neither is a command, in quotes or after a colon: it moves to a line of its own, and one
    that is longer than that continues behind a backslash, as shells read it. The columns of a
    table are kept whole, and the text beside a label is aligned with itself.

    Args:
        text: One or more lines.
        width: Characters in a line; None to leave the text as it is.
    """
    if width is None or _is_short(text, width):
        return text
    return "\n".join(part for line in text.split("\n") for part in _wrapped_line(line, width))


def _is_short(line: str, width: int) -> bool:
    return "\n" not in line and _cells(line) <= width


def _wrapped_line(line: str, width: int) -> Iterator[str]:
    if _is_short(line, width):
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    hanging = indent + _HANGING
    label = _LABEL.match(line)
    pieces = _pieces(line)
    columns = [] if _COMMAND.search(line) else list(_COLUMN.finditer(line))
    fit = all(len(hanging) + _cells(one[0]) <= width for one in columns)
    if len(columns) > _LABEL_AND_TEXT and fit:
        pieces = [(one.start(), one[0]) for one in columns]
    elif label is not None and len(label[0]) <= width * _WIDEST_LABEL:
        hanging = " " * len(label[0])
    yield from _filled(line, pieces, width, hanging)


def _pieces(line: str) -> list[tuple[int, str]]:
    """What is not broken: words, commands and paths, each with its position."""
    path = _PATH.match(line)
    if path is not None:
        return [(0, line[: path.start(1) - 1]), (path.start(1), path[1])]
    return [(found.start(), found[0]) for found in _WORD.finditer(line)]


def _filled(
    line: str, pieces: Iterable[tuple[int, str]], width: int, hanging: str
) -> Iterator[str]:
    """Lines with as many of the pieces as fit, and the space between those as in ``line``."""
    current, end = "", 0
    for start, piece in pieces:
        longer = current + line[end:start] + piece
        end = start + len(piece)
        if _cells(longer) <= width:
            current = longer
            continue
        if current.strip():
            yield current
            longer = hanging + piece
        *before, current = _continued(longer, width, hanging + _HANGING)
        yield from before
    yield current


def _continued(line: str, width: int, hanging: str) -> Iterator[str]:
    """The lines of a command that is longer than a line, which shells read as one."""
    quoted = _QUOTED.match(line)
    opening, command, closing = ("", line, "") if quoted is None else quoted.groups()
    if _cells(line) <= width or not re.match(rf" *{_PROGRAM}", command):
        yield line
        return
    current, end = opening, 0
    for argument in re.finditer(_ARGUMENT, command):
        longer = current + command[end : argument.end()]
        end = argument.end()
        if argument.start() > 0 and _cells(longer) > width - len(_BACKSLASH):
            yield current + _BACKSLASH
            longer = hanging + argument[0]
        current = longer
    yield current + command[end:] + closing


def _cells(text: str) -> int:
    """The width of a text: two for each character of East Asian scripts."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
