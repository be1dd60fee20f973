"""Defines the upper bounds of study files: of their text, and of the numbers in them.

They are far above every sensible study, and low enough that a file is read or refused within two
seconds and 300 MB.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

#: Size of one YAML file.
MAX_FILE_BYTES = 65_536
#: Keys, values and list items of one file, with the content of every alias counted again.
MAX_NODES = 10_000
#: Mappings and lists inside each other.
MAX_DEPTH = 20
#: Mistakes that are reported one by one; of further ones, the number is.
MAX_MISTAKES = 100
#: Longest message, and longest text of the file repeated in it.
MAX_MESSAGE, MAX_QUOTED = 1_000, 60
#: Combinations of choices of which every one is checked.
MAX_COMBINATIONS = 10_000
#: Values of one choice, configs to try first, and rungs.
MAX_CHOICES, MAX_ENQUEUED, MAX_RUNGS = 1_000, 1_000, 100

#: Folds of cross-validation: each is one more training of every config.
MAX_FOLDS = 50

MAX_INTEGER = 2**63 - 1
MAX_TRIALS = 1_000_000
MAX_HOURS = 1_000_000
MAX_WORKERS = 10_000
MAX_DEVICES = 10_000
MAX_EPOCHS = 100_000
#: Stages of progressive learning: each may be a network to compile.
MAX_STAGES = 4
MAX_PIXELS = 4_096
MAX_BATCH = 1_000_000
#: Bytes of a path (as on macOS; Linux allows more) and of each name in it.
_MAX_PATH, _MAX_NAME = 1_024, 255


def quoted(text: str) -> str:
    """``text`` in quotes; of a long one the start."""
    short = text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}..."
    return repr(short)


def one_line(message: str) -> str:
    """``message`` without control characters, and without the middle where it is long."""
    if len(message) > MAX_MESSAGE:
        half = MAX_MESSAGE // 2
        message = f"{message[:half]} [...] {message[-half:]}"
    return "".join(repr(c)[1:-1] if is_control(c) else c for c in message)


def is_control(character: str) -> bool:
    """Whether a character has no place in a text: control characters and lone surrogates."""
    return unicodedata.category(character) in ("Cc", "Cs")


def check_path(path: str) -> str:
    """Refuse a path that no file can have.

    Raises:
        ValueError: It, or a name in it, is too long, or ``~`` names an unknown user.
    """
    longest = max(len(name.encode()) for name in path.split("/"))
    if longest > _MAX_NAME or len(path.encode()) > _MAX_PATH:
        raise ValueError(
            f"the path {quoted(path)} is too long; use at most {_MAX_NAME} bytes for a name and "
            f"{_MAX_PATH} in all"
        )
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"the path {quoted(path)} starts in the home folder of an unknown user; write the "
            "folder's own path"
        ) from None
    return path


PathText = Annotated[str, AfterValidator(check_path)]
