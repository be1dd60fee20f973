"""Checks the mirrors of a study before it starts, and opens that of a final training."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.host import install_command
from effv2_tune.session.location import check_file_system, check_folder, make_folder
from effv2_tune.study.training_run import RECIPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.files.remote import RemoteFolder
    from effv2_tune.search.events import StudyRestored
    from effv2_tune.search.mirror.copying import Mirror
    from effv2_tune.search.mirror.restoration import MirroredStudy
    from effv2_tune.study.training_run import TrainingRun


def check_mirrors(
    mirror: str | None, resume_from: str | None, *, out: Path, storage: str | None, name: str
) -> MirroredStudy | None:
    """Check the addresses of a study's mirrors; writes nothing.

    Args:
        mirror: Where the study is copied to.
        resume_from: Where it is only restored from.
        out: Folder of the study.
        storage: Its database, if that is not in the folder.
        name: Of the study.

    Returns:
        The study that would be restored; None where the folder has its own, or no mirror has one.

    Raises:
        TuneError: An address cannot be used, or holds another study; or, where the folder has no
            study, it cannot be reached.
    """
    if mirror is None and resume_from is None:
        return None
    from effv2_tune.search.mirror.restoration import mirrored_study
    from effv2_tune.search.storage.backup import has_study

    if resume_from is not None and storage is not None:
        raise TuneError(
            "--resume-from restores the database of a study, and with --storage it is on a server.",
            hint="Omit --resume-from. Checkpoints of other machines are fetched from --mirror.",
        )
    if mirror == resume_from:
        raise TuneError(
            "--mirror and --resume-from name the same folder.",
            hint="Omit --resume-from: a study is restored from its mirror.",
        )
    folders = [_open(uri) for uri in (mirror, resume_from) if uri is not None]
    for folder in folders:
        _refuse_overlap(folder, out)
    if storage is not None or has_study(out):
        return None
    found = (mirrored_study(folder, name=name) for folder in folders)
    return next((study for study in found if study is not None), None)


def restore_missing(uri: str, out: Path) -> StudyRestored | None:
    """Restore the study of a mirror, by whatever name, into a folder that has none.

    Args:
        uri: Address of the mirror, which may be empty.
        out: Folder of the study.

    Returns:
        None where nothing was restored.

    Raises:
        TuneError: The mirror cannot be used.
    """
    from effv2_tune.search.mirror.restoration import restore
    from effv2_tune.search.storage.backup import has_study

    if has_study(out):
        return None
    folder = _open(uri)
    _refuse_overlap(folder, out)
    check_folder(out)
    check_file_system(out)
    return restore(folder, out, name=None)


def restored_training(uri: str | None, out: Path, *, run: TrainingRun) -> StudyRestored | None:
    """Restore a final training from its mirror, if its folder is empty.

    Args:
        uri: Address of the mirror; None for no mirror.
        out: Folder of the training.
        run: What is trained.

    Raises:
        TuneError: The mirror cannot be used.
    """
    if uri is None:
        return None
    from effv2_tune.search.mirror.restoration import restore_training

    folder = _open(uri)
    _refuse_overlap(folder, out)
    if (out / RECIPE_FILE).exists():
        return None
    make_folder(out)
    return restore_training(folder, out, name=run.name, identity=_identity(run))


@contextmanager
def mirrored_training(
    uri: str | None, out: Path, *, run: TrainingRun, restored: StudyRestored | None = None
) -> Iterator[Mirror | None]:
    """Copy a final training to its mirror while it runs.

    Args:
        uri: Address of the mirror; None for no mirror.
        out: Folder of the training.
        run: What is trained.
        restored: How it was restored, if its folder was empty.

    Raises:
        TuneError: The mirror cannot be used, or is newer than the folder.
    """
    if uri is None:
        yield None
        return
    from effv2_tune.search.mirror.contents import TrainingContents
    from effv2_tune.search.mirror.copying import Mirror, StudyIdentity

    folder = _open(uri)
    _refuse_overlap(folder, out)
    recipe = run.full_recipe().model_dump_json()
    study = StudyIdentity(_identity(run), run.name, recipe, is_whole=True)
    mirror = Mirror(folder, out, study=study, contents=TrainingContents(out))
    mirror.open()
    if restored is not None:
        mirror.report(restored)
    with mirror:
        yield mirror


def _identity(run: TrainingRun) -> str:
    """The same file again is the same training."""
    return hashlib.sha256(run.full_recipe().model_dump_json().encode()).hexdigest()


def _open(uri: str) -> RemoteFolder:
    from effv2_tune.files.remote import RemoteFolder

    try:
        return RemoteFolder(uri)
    except ImportError as error:
        raise TuneError(
            f"{uri} needs a package that is not installed ({error}).",
            hint=f"For gs:// and s3://: {install_command('mirror')}",
        ) from error


def _refuse_overlap(folder: RemoteFolder, out: Path) -> None:
    """Refuse a mirror inside the mirrored folder, or around it: both would be lost together."""
    if folder.path is None:
        return
    path, out = folder.path.resolve(), out.resolve()
    if path.is_relative_to(out) or out.is_relative_to(path):
        raise TuneError(
            f"The mirror {folder.uri} and the folder {out} are inside each other.",
            hint="Choose a mirror on another disk, which is not lost with this one.",
        )
