"""Selects which files of a study, or of a final training, a mirror has."""

from __future__ import annotations

import contextlib
import io
import re
from typing import IO, TYPE_CHECKING, Protocol

from effv2_tune.files.cached_features import FEATURE_PATH
from effv2_tune.files.checkpoint import checkpoints_in
from effv2_tune.search.storage.backup import DATABASE, copy_database, count_ended
from effv2_tune.study.training_run import (
    CARD_FILE,
    CLASSES_FILE,
    CONFUSION_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RECIPE_FILE,
    SCHEDULE_FILE,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.files.versions import Content

    Put = Callable[[str, IO[bytes]], Content]

EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
#: Of a final training; its page of some MB is written again from them.
_OUTPUTS = (
    RECIPE_FILE,
    HISTORY_FILE,
    SCHEDULE_FILE,
    CONFUSION_FILE,
    MODEL_FILE,
    CLASSES_FILE,
    METRICS_FILE,
    CARD_FILE,
)
#: Of a study's folder.
STUDY_PATH = re.compile(
    rf"{re.escape(DATABASE)}|{re.escape(EVENTS)}"
    rf"|{CHECKPOINTS}/(trial-\d{{5,}})/step-(\d{{9,}})\.safetensors"
)
#: Of the folder of a final training.
TRAINING_PATH = re.compile(
    rf"{'|'.join(map(re.escape, _OUTPUTS))}|{CHECKPOINTS}/step-\d{{9,}}\.safetensors"
)
#: Attempts at a version in which no trial ended while its checkpoints were copied.
_MOST_COPIES = 3


def is_mirrored(path: str) -> bool:
    """Whether a mirror may have a file of this path, relative to the mirrored folder."""
    return any(pattern.fullmatch(path) for pattern in (STUDY_PATH, TRAINING_PATH, FEATURE_PATH))


class Contents(Protocol):
    """What is mirrored of a folder."""

    def ended(self) -> int | None:
        """How many trials have ended; None where each supervisor mirrors its own checkpoints."""

    def put(self, put: Put) -> tuple[dict[str, Content], int]:
        """Copy all files.

        Args:
            put: Copies an open file under its path.

        Returns:
            What was copied, and how many trials have ended in it.
        """


class StudyContents:
    """A study: its database, log and checkpoints.

    The database is copied after the checkpoints, so that it has every decision that these have
    passed.

    Args:
        out: Folder of the study.
        is_whole: Whether its database is in the folder.
    """

    def __init__(self, out: Path, *, is_whole: bool) -> None:
        self._out = out
        self._is_whole = is_whole

    def ended(self) -> int | None:
        """See :class:`Contents`."""
        return count_ended(self._out) if self._is_whole else None

    def put(self, put: Put) -> tuple[dict[str, Content], int]:
        """See :class:`Contents`."""
        if not self._is_whole:
            return self._put_checkpoints(put), 0
        before = count_ended(self._out)
        for _ in range(_MOST_COPIES):
            files = self._put_checkpoints(put)
            database, ended = copy_database(self._out / DATABASE)
            if ended == before:
                break
            # A trial has ended meanwhile, and the checkpoint with its weights may be missing.
            before = ended
        files[DATABASE] = put(DATABASE, io.BytesIO(database))
        files[EVENTS] = put(EVENTS, io.BytesIO(_whole_lines(self._out / EVENTS)))
        return files, ended

    def _put_checkpoints(self, put: Put) -> dict[str, Content]:
        """Copy the newest checkpoint of each trial: running ones, and ended ones that are kept."""
        files: dict[str, Content] = {}
        for folder in sorted((self._out / CHECKPOINTS).glob("trial-*")):
            files |= _put_newest(folder, self._out, put)
        return files


class TrainingContents:
    """A final training: its recipe, newest checkpoint and results.

    Args:
        out: Its folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def ended(self) -> int:
        """See :class:`Contents`; metrics mark a finished training."""
        return int((self._out / METRICS_FILE).is_file())

    def put(self, put: Put) -> tuple[dict[str, Content], int]:
        """See :class:`Contents`."""
        ended = self.ended()
        files = _put_newest(self._out / CHECKPOINTS, self._out, put)
        for name in _OUTPUTS if ended else (RECIPE_FILE,):
            with contextlib.suppress(FileNotFoundError), (self._out / name).open("rb") as file:
                files[name] = put(name, file)
        return files, ended


def _put_newest(folder: Path, out: Path, put: Put) -> dict[str, Content]:
    """Copy the newest checkpoint in a folder."""
    path = next((path for _, path in reversed(checkpoints_in(folder))), None)
    name = "" if path is None else path.relative_to(out).as_posix()
    # Deleted meanwhile: its trial has ended, or has a newer one in the next version.
    with contextlib.suppress(FileNotFoundError):
        if path is not None and is_mirrored(name):
            with path.open("rb") as file:
                return {name: put(name, file)}
    return {}


def _whole_lines(path: Path) -> bytes:
    """A log up to its last line break: another thread writes it."""
    content = path.read_bytes() if path.is_file() else b""
    return content[: content.rfind(b"\n") + 1]
