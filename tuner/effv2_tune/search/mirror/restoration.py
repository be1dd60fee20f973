"""Restores a study from its mirror, and decides whose mirror a folder is."""

from __future__ import annotations

import itertools
import secrets
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import durable_replace
from effv2_tune.files.cached_features import restore_features
from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.files.checkpoint import checkpoints_in
from effv2_tune.files.remote import RemoteError, RemoteFolder
from effv2_tune.files.versions import (
    DamagedVersionError,
    download,
    has_versions,
    newest_versions,
    next_writer,
    versions_of,
    writers_of,
)
from effv2_tune.search.events import StudyRestored
from effv2_tune.search.mirror.contents import (
    CHECKPOINTS,
    EVENTS,
    STUDY_PATH,
    is_mirrored,
)
from effv2_tune.search.storage.backup import DATABASE, count_ended, free_leases
from effv2_tune.study.training_run import RECIPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.files.versions import Version

#: Whose mirror a folder is; it concerns this folder alone, and is not mirrored.
STATE = "mirror.json"
_STAGING = ".restoring"


@dataclass(frozen=True)
class MirroredStudy:
    """A study that can be restored.

    Attributes:
        uri: Address of its mirror.
        ended: How many of its trials have ended.
    """

    uri: str
    ended: int


def mirrored_study(folder: RemoteFolder, *, name: str) -> MirroredStudy | None:
    """The study in a mirror, by its newest version; None where there is none.

    Raises:
        TuneError: The mirror cannot be reached, or holds another study.
    """
    try:
        version = next(_whole_versions(folder), None)
    except RemoteError as error:
        raise _unreachable(folder, error) from error
    if version is None:
        return None
    _refuse_another(folder, version, name=name)
    return MirroredStudy(folder.uri, _ended(version))


def restore(folder: RemoteFolder, out: Path, *, name: str | None) -> StudyRestored | None:
    """Restore a study into a folder that has no database.

    The database gets its name last: a restoration that is killed is begun again.

    Args:
        folder: The mirror; nothing is written there.
        out: Folder of the study.
        name: Of the study; None for any.

    Returns:
        None where the mirror has no study.

    Raises:
        TuneError: The mirror cannot be reached, holds another study, or none that is intact.
        OSError: The study's folder cannot be written.
    """
    damaged: list[str] = []
    try:
        for version in _whole_versions(folder):
            _refuse_another(folder, version, name=name)
            if _try_restore(folder, version, out, damaged):
                return _restored(folder, version, damaged)
    except RemoteError as error:
        raise _unreachable(folder, error) from error
    if damaged:
        raise TuneError(
            f"The study in {folder.uri} cannot be restored: {'; '.join(damaged)}.",
            hint="Use another copy of it: --resume-from URI. Or start a new study: --mirror "
            "another folder.",
            exit_code=EXIT_FAILED,
        )
    return None


def restore_any(uris: Iterable[str | None], out: Path, *, name: str) -> StudyRestored | None:
    """Restore a study from the first mirror that has it; see :func:`restore`."""
    for uri in uris:
        if uri is not None and (restored := restore(RemoteFolder(uri), out, name=name)) is not None:
            return restored
    return None


def _whole_versions(folder: RemoteFolder) -> Iterator[Version]:
    folder.check()
    if DATABASE in folder.sizes(""):
        raise TuneError(
            f"{folder.uri} is the folder of a study, not a mirror.",
            hint="Copy it, and name the copy with --out; or name the folder that was written with "
            "--mirror.",
        )
    versions = list(newest_versions(folder, is_path=is_mirrored))
    if not versions:
        _refuse_damaged(folder)
    yield from (version for version in versions if DATABASE in version.files)
    if versions and DATABASE not in versions[0].files:
        raise TuneError(
            f"{folder.uri} is the mirror of a study whose database is elsewhere.",
            hint="Give its database with --storage; or, for a new study, another --mirror.",
        )


def _try_restore(folder: RemoteFolder, version: Version, out: Path, damaged: list[str]) -> bool:
    """Restore a version; False where its database is damaged."""
    staging = out / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        download(folder, version, DATABASE, staging / DATABASE)
        free_leases(staging / DATABASE)
    except (DamagedVersionError, sqlite3.Error) as error:
        damaged.append(str(error))
        return False
    for path in filter(STUDY_PATH.fullmatch, version.files.keys() - {DATABASE}):
        _download_or_older(folder, version, path, staging, damaged)
    try:
        restore_features(version.files, partial(download, folder, version))
    except (DamagedVersionError, OSError) as error:
        damaged.append(f"features are not restored, and computed again: {error}")
    for name in (CHECKPOINTS, EVENTS):
        _set_aside(out / name)
        if (staging / name).exists():
            (staging / name).rename(out / name)
    # First whose it is: without it, the study would seem to be continued elsewhere.
    write_checked(out / STATE, {"restored": [version.writer, version.sequence]})
    durable_replace(staging / DATABASE, out / DATABASE)
    shutil.rmtree(staging, ignore_errors=True)
    return True


def _download_or_older(
    folder: RemoteFolder, version: Version, path: str, staging: Path, damaged: list[str]
) -> None:
    """Restore a file; in place of a damaged checkpoint, an older one of its trial."""
    try:
        download(folder, version, path, staging / path)
    except DamagedVersionError as error:
        damaged.append(str(error))
        parent = path.rpartition("/")[0]
        if not parent:
            return
        for older in versions_of(folder, version.writer, is_path=is_mirrored):
            for other in older.files:
                if older.sequence < version.sequence and other.rpartition("/")[0] == parent:
                    _download_or_older(folder, older, other, staging, damaged)
                    return


def restore_training(
    folder: RemoteFolder, out: Path, *, name: str, identity: str
) -> StudyRestored | None:
    """Restore a final training into a folder without one; None where the mirror is empty.

    Raises:
        TuneError: The mirror cannot be read, is damaged, or holds something else.
    """
    try:
        folder.check()
        for version in newest_versions(folder, is_path=is_mirrored):
            _refuse_another(folder, version, name=name, identity=identity)
            with suppress(DamagedVersionError, KeyError):
                for path in version.files.keys() - {RECIPE_FILE}:
                    download(folder, version, path, out / path)
                write_checked(out / STATE, {"restored": [version.writer, version.sequence]})
                # Last: with it, the folder has the training.
                download(folder, version, RECIPE_FILE, out / RECIPE_FILE)
                return _restored(folder, version)
        _refuse_damaged(folder)
    except RemoteError as error:
        raise _unreachable(folder, error) from error
    return None


def _restored(folder: RemoteFolder, version: Version, damaged: Sequence[str] = ()) -> StudyRestored:
    return StudyRestored(
        source=folder.uri,
        time=version.time,
        host=version.host,
        ended=_ended(version),
        damaged=tuple(damaged),
    )


def _set_aside(path: Path) -> None:
    """Rename what a lost study, or a restoration that was killed, left in the folder."""
    if path.exists():
        number = 1
        while (kept := path.with_name(f"{path.name}.before-{number}")).exists():
            number += 1
        path.rename(kept)


def fetch_checkpoint(folder: RemoteFolder, identity: str, into: Path) -> None:
    """Fetch the newest intact checkpoint of a trial from any writer, unless a newer one is here.

    Args:
        folder: The mirror.
        identity: Of the study.
        into: The folder of the trial's checkpoints.

    Raises:
        RemoteError: The mirror cannot be read.
        OSError: The folder cannot be written.
    """
    here = max((step for step, _ in checkpoints_in(into)), default=0)
    found = []
    for writer in writers_of(folder):
        for version in versions_of(folder, writer, is_path=is_mirrored):
            if version.facts.get("study", {}).get("id") == identity:
                found += [
                    (int(match[2]), version, path)
                    for path in version.files
                    if (match := STUDY_PATH.fullmatch(path)) and match[1] == into.name
                ]
    for step, version, path in sorted(found, key=lambda one: -one[0]):
        if step <= here:
            return
        try:
            download(folder, version, path, into / path.rpartition("/")[2])
        except DamagedVersionError:
            continue
        return


def writer_name(
    folder: RemoteFolder, out: Path, *, identity: str, name: str, ended: int | None
) -> str:
    """The name under which a study's folder writes to a mirror.

    Args:
        folder: The mirror.
        out: Folder of the study.
        identity: Of the study.
        name: Of the study.
        ended: Its ended trials, where the mirror holds the whole study; None where each supervisor
            mirrors its own checkpoints.

    Raises:
        TuneError: The mirror holds another study, or this one was continued elsewhere.
        RemoteError: It cannot be read.
    """
    state = read_checked(out / STATE) or {}
    mine = state.get("writer")
    newest = next(newest_versions(folder, is_path=is_mirrored), None)
    if newest is not None:
        _refuse_another(folder, newest, name=name, identity=identity)
    if newest is None or ended is None:
        return mine or _new_writer(folder)
    is_older = _ended(newest) > ended
    if newest.writer == mine and not is_older:
        # A newer one without a version restored the study, and was lost before it continued it.
        return str(mine) if writers_of(folder)[-1] == mine else _new_writer(folder)
    if state.get("restored") == [newest.writer, newest.sequence] and not is_older:
        return _new_writer(folder)
    raise TuneError(
        f"The mirror {folder.uri} is newer than {out}: {newest.host} wrote it at {newest.time}, "
        f"with {_ended(newest)} ended trials, and here {ended} have ended.",
        hint="To continue from the mirror, give an empty folder with --out. To continue from "
        f"{out}, give another --mirror.",
    )


def remember_writer(out: Path, writer: str) -> None:
    """Note under which name a study's folder writes to its mirror."""
    state = read_checked(out / STATE) or {}
    if state.get("writer") != writer:
        write_checked(out / STATE, {**state, "writer": writer})


def refuse_other_copy(folder: RemoteFolder, out: Path, *, name: str, identity: str) -> None:
    """Check that ``--resume-from`` is no other, or newer, study than the one that is here.

    Raises:
        TuneError: It is.
    """
    # It has served, and may be gone by now.
    with suppress(RemoteError):
        for version in itertools.islice(_whole_versions(folder), 1):
            _refuse_older(folder, version, count_ended(out), name=name, identity=identity)


def _refuse_older(
    folder: RemoteFolder, version: Version, ended: int, *, name: str, identity: str
) -> None:
    _refuse_another(folder, version, name=name, identity=identity)
    if _ended(version) > ended:
        raise TuneError(
            f"The study in {folder.uri} is newer than the one here: {_ended(version)} of its "
            f"trials have ended, and {ended} here.",
            hint="To continue from the copy, give an empty folder with --out. To continue from "
            "here, omit --resume-from.",
        )


def _new_writer(folder: RemoteFolder) -> str:
    return next_writer(folder, secrets.token_hex(4))


def _refuse_another(
    folder: RemoteFolder, version: Version, *, name: str | None, identity: str | None = None
) -> None:
    study = version.facts.get("study", {})
    if name is not None and study.get("name") != name:
        raise TuneError(
            f"{folder.uri} holds another study, {study.get('name')!r}; this one is {name!r}.",
            hint="Give each study a mirror of its own.",
        )
    if identity is not None and study.get("id") != identity:
        raise TuneError(
            f"{folder.uri} holds another study or training of the name {name!r} than is here.",
            hint="Give each a mirror of its own; or, to continue the one that is there, an empty "
            "folder with --out.",
        )


def _ended(version: Version) -> int:
    ended = version.facts.get("ended", 0)
    return ended if isinstance(ended, int) else 0


def _refuse_damaged(folder: RemoteFolder) -> None:
    """Begin nothing new in the place of what was mirrored."""
    if has_versions(folder):
        raise TuneError(
            f"The mirror {folder.uri} is damaged: it has no intact version.",
            hint="Put another copy in its place; or, to start over, give another --mirror.",
            exit_code=EXIT_FAILED,
        )


def _unreachable(folder: RemoteFolder, error: RemoteError) -> TuneError:
    return TuneError(
        f"{folder.uri} cannot be read: {error}.",
        hint="Check the address, the network and the credentials, then rerun the same command.",
        exit_code=EXIT_FAILED,
    )
