"""Defines the errors that a user can correct: a message, a location, a hint and an exit code."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

#: The way out of a failure of the machine, which lost nothing.
RESUME_HINT = "Fix this, then rerun the same command to resume."

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Longer words are not compared with known ones.
_LONGEST_WORD = 100
#: The share of equal characters from which a word is close to a known one; as in `difflib`.
_CLOSE = 0.6


class TuneError(Exception):
    """An error that the user can correct.

    Args:
        message: What was found, and where.
        hint: What to do about it.
        exit_code: 2 where the input is wrong, 1 where valid input failed.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, exit_code: int = EXIT_WRONG_INPUT
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """The message, with the hint on a line of its own."""
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in a file.

    Attributes:
        file: Name of the file as the user wrote it.
        line: Line from 1, or 0 where the file as a whole is meant.
        message: What is wrong, and how to correct it.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """``file:line: message``, as compilers and editors format it."""
        location = self.file if self.line == 0 else f"{self.file}:{self.line}"
        return f"{location}: {self.message}"


class UnavailableError(TuneError):
    """A disk, file, network or server that a study needs has failed: no fault of a trial."""

    def __init__(
        self, message: str, *, hint: str | None = None, exit_code: int = EXIT_FAILED
    ) -> None:
        super().__init__(message, hint=hint, exit_code=exit_code)


class MistakesError(TuneError):
    """All mistakes of one or more files, at once."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: Sequence[Mistake] = tuple(sorted(mistakes))
        count = len(self.mistakes)
        noun = "error" if count == 1 else "errors"
        lines = [str(mistake) for mistake in self.mistakes]
        super().__init__("\n".join([*lines, f"{count} {noun}."]))


def joined(errors: Sequence[TuneError]) -> TuneError:
    """One error in place of several, with the distinct hints at the end."""
    if len(errors) == 1:
        return errors[0]
    hints = dict.fromkeys(error.hint for error in errors if error.hint is not None)
    return TuneError(
        "\n".join(error.message for error in errors),
        hint="\n".join(hints) or None,
        exit_code=max(error.exit_code for error in errors),
    )


def printable(text: str) -> str:
    """The text with its control characters escaped, as a terminal would obey them.

    Line breaks and tabs remain.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``", did you mean 'seed'?"`` where ``known`` has a word close to ``word``, else nothing."""
    if len(word) > _LONGEST_WORD:
        return ""
    names = {name.lower(): name for name in known}

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, name, word.lower()).ratio()

    # Of several that are equally close, the first.
    best = max(names, key=likeness, default="")
    return f", did you mean {names[best]!r}?" if best and likeness(best) >= _CLOSE else ""
