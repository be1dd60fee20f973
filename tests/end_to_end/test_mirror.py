"""Studies are copied to a mirror while they run, and go on from it on another machine."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.end_to_end.lost_folders import outcome, run_losing_folders
from tests.end_to_end.test_full_disk import mount, small_disk

from effv2_tune.errors import TuneError
from effv2_tune.files.remote import RemoteFolder
from effv2_tune.files.versions import (
    VersionWriter,
    newest_versions,
    next_writer,
    writers_of,
)
from effv2_tune.search import read_study
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import (
    EpochTrained,
    MirrorFailed,
    MirrorRecovered,
    MirrorStopped,
    StudyEnded,
    StudyRestored,
    TrialEnded,
    TrialStarted,
)
from effv2_tune.search.mirror.contents import StudyContents, is_mirrored
from effv2_tune.search.mirror.copying import Mirror, StudyIdentity
from effv2_tune.search.mirror.restoration import restore
from effv2_tune.search.storage.backup import count_ended
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from effv2_tune.search.events import Event

    MakePlan = Callable[..., StudyPlan]

SCRIPTED_WORKER = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))
NO_HALVING = {"halving": {"enabled": False}}


@pytest.fixture(autouse=True)
def _empty_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT", "{}")


def stream(
    plan: StudyPlan, out: Path, *, worker: Sequence[str] = SCRIPTED_WORKER, **where: Any
) -> Iterator[Event]:
    with open_study(plan, out, base=out.parent, **where) as study:
        yield from study.run(hardware="cpu", backend="tensorflow", worker_command=worker)


def run(
    plan: StudyPlan, out: Path, *, until: Callable[[Event], bool] | None = None, **where: Any
) -> list[Event]:
    """Run a study to its end, or to an event, where it is interrupted."""
    events = []
    story = stream(plan, out, **where)
    for event in story:
        events.append(event)
        if until is not None and until(event):
            story.close()  # type: ignore[attr-defined]
            break
    return events


def in_epoch(trial: int, epoch: int) -> Callable[[Event], bool]:
    return lambda event: (
        isinstance(event, EpochTrained) and (event.trial, event.epoch.epoch) == (trial, epoch)
    )


def of_kind(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def digest(folder: Path) -> dict[str, str]:
    """Checksums of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_a_study_whose_folder_is_deleted_again_and_again_ends_as_undisturbed(
    tmp_path: Path,
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    run_losing_folders(undisturbed, trials=7, losses=0, epoch_seconds=0)

    losses = run_losing_folders(disturbed, trials=7, losses=2)

    assert outcome(disturbed / "runs/lost") == outcome(undisturbed / "runs/lost")
    assert len(losses) == 2
    for loss in losses:
        assert loss.restored == loss.ended
        assert loss.epochs.items() <= loss.resumed.items()


def test_a_read_only_copy_of_the_mirror_continues_elsewhere_at_the_same_epoch(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    """From Kaggle, whose outputs are another notebook's read-only inputs, to Colab."""
    plan = make_plan(trials=4, keep="all")
    run(plan, tmp_path / "undisturbed")
    kaggle, colab = tmp_path / "kaggle", tmp_path / "colab"
    kaggle.mkdir()
    colab.mkdir()
    run(plan, kaggle / "study", mirror=str(kaggle / "output"), until=in_epoch(1, 3))
    shutil.copytree(kaggle / "output", colab / "input")
    shutil.rmtree(kaggle)
    before = digest(colab / "input")
    (version, *_) = newest_versions(RemoteFolder(str(colab / "input")), is_path=is_mirrored)
    (mirrored,) = [path for path in version.files if path.startswith("checkpoints/trial-00001/")]

    events = run(
        plan,
        colab / "runs" / "study",
        resume_from=str(colab / "input"),
        mirror=str(colab / "drive"),
    )

    (restored,) = of_kind(StudyRestored, events)
    resumed = of_kind(TrialStarted, events)[0]
    assert (restored.ended, restored.damaged) == (1, ())
    assert (resumed.trial, resumed.attempt) == (1, 2)
    assert resumed.resumed_after == int(Path(mirrored).stem.removeprefix("step-")) >= 3
    assert digest(colab / "input") == before
    assert outcome(colab / "runs/study") == outcome(tmp_path / "undisturbed")
    # What comes next on an empty machine is restored from the newer one of the two.
    again = run(
        plan,
        colab / "again",
        resume_from=str(colab / "input"),
        mirror=str(colab / "drive"),
    )
    assert [event.ended for event in of_kind(StudyRestored, again)] == [4]
    assert not of_kind(TrialStarted, again)


def test_checkpoints_that_are_not_kept_are_not_mirrored(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=5, search=NO_HALVING)

    run(plan, tmp_path / "study", mirror=str(tmp_path / "mirror"))

    (newest, *_) = newest_versions(RemoteFolder(str(tmp_path / "mirror")), is_path=is_mirrored)
    front = {f"trial-{number:05d}" for number in read_study(tmp_path / "study").front()}
    paths = [path for path in newest.files if path.startswith("checkpoints/")]
    assert {path.split("/")[1] for path in paths} == front
    assert len(front) < 5


def copy_to(mirror: Path, out: Path, name: str = "tiny") -> None:
    """Write one version of a folder as it is."""
    with contextlib.closing(DatabaseStorage(database_url(out), name)) as storage:
        identity = storage.keep_once("id", "0" * 32)
    study = StudyIdentity(identity, name, "{}", is_whole=True)
    contents = StudyContents(out, is_whole=True)
    with Mirror(RemoteFolder(str(mirror)), out, study=study, contents=contents) as copying:
        assert list(copying.following(iter(()))) == []


def test_the_leases_of_a_lost_machine_are_free(tmp_path: Path, make_plan: MakePlan) -> None:
    plan, out = make_plan(trials=2, search=NO_HALVING), tmp_path / "study"
    run(plan, out, until=in_epoch(0, 2))
    # As a machine leaves it that is switched off: the owner is elsewhere, and may be alive.
    with contextlib.closing(sqlite3.connect(out / "study.db")) as database, database:
        done = database.execute("UPDATE leases SET token = 'x', host = 'elsewhere'")
    assert done.rowcount == 1
    copy_to(tmp_path / "mirror", out)
    shutil.rmtree(out)

    events = run(plan, out, resume_from=str(tmp_path / "mirror"))

    # Without waiting a minute for their expiry: the first trial is resumed before a second one.
    assert [event.trial for event in of_kind(TrialStarted, events)] == [0, 1]
    assert of_kind(TrialStarted, events)[0].resumed_after >= 2


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the mirror of a study that was interrupted in its second trial."""
    base = tmp_path_factory.mktemp("mirrored")
    plan = StudyPlan.model_validate_json(json.dumps(DAMAGED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPT", '{"1": {"epoch_seconds": 0.3}}')
        run(plan, base / "study", until=in_epoch(1, 3))
        copy_to(base / "mirror", base / "study", "damaged")
        run(plan, base / "study", until=in_epoch(1, 5))
        copy_to(base / "mirror", base / "study", "damaged")
    return base


DAMAGED = {
    "name": "damaged",
    "recipe": {"epochs": 6, "schedule": "constant"},
    "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"}},
    "search": NO_HALVING,
    "trials": 3,
    "keep": "all",
}


@pytest.mark.parametrize("how", ["truncated", "flipped", "removed"])
def test_nothing_that_is_damaged_in_a_mirror_is_used(
    mirrored: Path, tmp_path: Path, how: str
) -> None:
    """Every file of the mirror in turn, at several places; what is restored was written once."""
    shutil.copytree(mirrored / "mirror", tmp_path / "mirror")
    versions = list(newest_versions(RemoteFolder(str(tmp_path / "mirror")), is_path=is_mirrored))
    assert len(versions) == 2
    written = {content.sha256 for version in versions for content in version.files.values()}
    trials = [trials_of(map(Path, version.files)) for version in versions]
    names = [path.relative_to(mirrored / "mirror") for path in files_of(mirrored / "mirror")]
    for name in names:
        content = (mirrored / "mirror" / name).read_bytes()
        for part in (0.0, 0.3, 0.7, 0.99):
            damage(tmp_path / "mirror" / name, content, part, how)
            out = tmp_path / "out"
            restored = restore(RemoteFolder(str(tmp_path / "mirror")), out, name="damaged")
            assert restored is not None
            found = [path for path in files_of(out) if path.suffix == ".safetensors"]
            checksums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
            assert checksums <= written
            missing = min(len(one - trials_of(found)) for one in trials)
            # A checkpoint that both versions have is lost; of all others there is the older one.
            assert missing == 0 or (missing == 1 and restored.damaged)
            assert read_study(out).trials
            shutil.rmtree(out)
        (tmp_path / "mirror" / name).write_bytes(content)


def trials_of(paths: Iterable[Path]) -> set[str]:
    """Names of the trials that have a checkpoint among the paths."""
    return {path.parent.name for path in paths if path.suffix == ".safetensors"}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, content: bytes, part: float, how: str) -> None:
    position = int(part * len(content))
    if how == "removed":
        path.unlink(missing_ok=True)
    elif how == "truncated":
        path.write_bytes(content[:position])
    else:
        flipped = bytearray(content)
        flipped[position] ^= 16
        path.write_bytes(flipped)


def test_a_mirror_without_an_intact_database_is_an_error_message(
    mirrored: Path, tmp_path: Path
) -> None:
    shutil.copytree(mirrored / "mirror", tmp_path / "mirror")
    folder = RemoteFolder(str(tmp_path / "mirror"))
    for version in newest_versions(folder, is_path=is_mirrored):
        stored = tmp_path / "mirror" / version.writer / "objects"
        (stored / version.files["study.db"].sha256).write_bytes(b"x")

    with pytest.raises(
        TuneError, match=r"cannot be restored: .* is missing or truncated"
    ) as caught:
        restore(folder, tmp_path / "out", name="damaged")
    assert "--resume-from" in str(caught.value.hint)


def test_no_new_study_is_begun_over_a_mirror_that_is_damaged_or_of_another_kind(
    mirrored: Path, tmp_path: Path, make_plan: MakePlan
) -> None:
    shutil.copytree(mirrored / "mirror", tmp_path / "mirror")
    for version in (tmp_path / "mirror").glob("*/version-*"):
        version.write_bytes(b"{")
    plan = StudyPlan.model_validate_json(json.dumps(DAMAGED))
    with pytest.raises(TuneError, match="is damaged: it has no intact version"):
        run(plan, tmp_path / "out", mirror=str(tmp_path / "mirror"))

    server = {"storage_url": f"sqlite:///{tmp_path}/shared.db", "mirror": str(tmp_path / "shared")}
    run(make_plan(trials=1), tmp_path / "one", **server)
    with pytest.raises(TuneError, match="of a study whose database is elsewhere"):
        run(make_plan(trials=1), tmp_path / "two", mirror=str(tmp_path / "shared"))


def test_a_trial_whose_checkpoint_is_damaged_everywhere_starts_over_and_says_so(
    mirrored: Path, tmp_path: Path
) -> None:
    shutil.copytree(mirrored / "mirror", tmp_path / "mirror")
    for version in newest_versions(RemoteFolder(str(tmp_path / "mirror")), is_path=is_mirrored):
        for path, content in version.files.items():
            if "trial-00001" in path:
                objects = tmp_path / "mirror" / version.writer / "objects"
                (objects / content.sha256).write_bytes(b"x" * content.size)
    plan = StudyPlan.model_validate_json(json.dumps(DAMAGED))

    events = run(plan, tmp_path / "out", resume_from=str(tmp_path / "mirror"))

    (restored,) = of_kind(StudyRestored, events)
    resumed = of_kind(TrialStarted, events)[0]
    assert len(restored.damaged) == 2
    assert (resumed.trial, resumed.resumed_after) == (1, 0)
    assert resumed.starts_over == "there is no checkpoint of it"
    assert [trial.state for trial in read_study(tmp_path / "out").trials] == ["complete"] * 3


def test_a_trial_has_ended_once_its_record_has(tmp_path: Path, make_plan: MakePlan) -> None:
    """Its last checkpoint is there by then, and belongs into the same version."""
    with open_study(make_plan(), tmp_path, base=tmp_path) as study:
        engine = OptunaEngine(study.storage, study.plan.search_space)
        for number, ending in enumerate(("running", "recorded", "finished")):
            trial = Trial(number=number, state="running", config=engine.ask().config)
            study.storage.save(trial)
            assert count_ended(tmp_path) == max(number - 1, 0)
            if ending != "running":
                study.storage.save(trial.model_copy(update={"state": "failed"}))
            assert count_ended(tmp_path) == number
            if ending == "finished":
                study.storage.finish(trial.model_copy(update={"state": "failed"}))
            assert count_ended(tmp_path) == number


def test_another_study_in_the_mirror_is_refused(tmp_path: Path, make_plan: MakePlan) -> None:
    mirror = str(tmp_path / "mirror")
    run(make_plan(trials=1), tmp_path / "study", mirror=mirror)
    run(make_plan(trials=1), tmp_path / "same name")

    with pytest.raises(TuneError, match="holds another study, 'tiny'; this one is 'other'"):
        run(make_plan(name="other"), tmp_path / "other", mirror=mirror)
    with pytest.raises(TuneError, match="another study or training of the name 'tiny'") as caught:
        run(make_plan(trials=2), tmp_path / "same name", mirror=mirror)
    assert "empty folder" in str(caught.value.hint)


def test_a_mirror_that_was_continued_elsewhere_is_refused(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    mirror = str(tmp_path / "mirror")
    run(make_plan(trials=1), tmp_path / "first", mirror=mirror)
    run(make_plan(trials=2), tmp_path / "second", mirror=mirror)

    with pytest.raises(
        TuneError, match=r"newer than .*first.*2 ended trials, and here 1"
    ) as caught:
        run(make_plan(trials=3), tmp_path / "first", mirror=mirror)

    assert "give an empty folder with --out" in str(caught.value.hint)
    run(make_plan(trials=3), tmp_path / "second", mirror=mirror)
    assert len(read_study(tmp_path / "second").trials) == 3
    assert writers_of(RemoteFolder(mirror))[0].startswith("0002")
    assert len(writers_of(RemoteFolder(mirror))) == 1


def test_an_older_database_in_the_folder_does_not_replace_a_newer_mirror(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    out, mirror = tmp_path / "study", str(tmp_path / "mirror")
    run(make_plan(trials=1), out, mirror=mirror)
    shutil.copy(out / "study.db", tmp_path / "older")
    run(make_plan(trials=3), out, mirror=mirror)
    shutil.copy(tmp_path / "older", out / "study.db")

    with pytest.raises(TuneError, match="3 ended trials, and here 1"):
        run(make_plan(trials=3), out, mirror=mirror)


def test_a_machine_that_runs_on_is_replaced_and_notices(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan, mirror = make_plan(trials=4, search=NO_HALVING), str(tmp_path / "mirror")
    first = stream(plan, tmp_path / "first", mirror=mirror)
    events = []
    for event in first:
        events.append(event)
        if isinstance(event, TrialEnded):
            break

    run(plan, tmp_path / "second", mirror=mirror)
    before = digest(tmp_path / "mirror")
    events += list(first)

    (stopped,) = of_kind(MirrorStopped, events)
    assert "was continued from the mirror" in stopped.reason
    assert "End one of the two" in stopped.reason
    assert isinstance(events[-1], MirrorStopped | StudyEnded)
    assert digest(tmp_path / "mirror") == before
    assert [trial.state for trial in read_study(tmp_path / "first").trials] == ["complete"] * 4


def test_a_machine_that_was_lost_right_after_it_restored_the_study_blocks_nobody(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    mirror = RemoteFolder(str(tmp_path / "mirror"))
    run(make_plan(trials=1), tmp_path / "first", mirror=mirror.uri)
    VersionWriter(mirror, next_writer(mirror, "0" * 8)).begin()

    events = run(make_plan(trials=2), tmp_path / "first", mirror=mirror.uri)

    assert not of_kind(MirrorStopped, events)
    (newest, *_) = newest_versions(mirror, is_path=is_mirrored)
    assert (newest.writer[:4], newest.facts["ended"]) == ("0003", 2)


def test_two_supervisors_of_one_folder_share_its_mirror(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan, out, mirror = make_plan(trials=6), tmp_path / "study", str(tmp_path / "mirror")
    first = stream(plan, out, mirror=mirror)
    events = [next(first)]

    run(plan, out, mirror=mirror)
    events += list(first)

    assert not of_kind(MirrorFailed, events)
    assert not of_kind(MirrorStopped, events)
    shutil.rmtree(out)
    again = run(plan, out, mirror=mirror)
    assert [event.ended for event in of_kind(StudyRestored, again)] == [6]


def test_a_mirror_that_is_not_there_is_reported_once_and_written_when_it_is(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=3)
    run(make_plan(trials=1), tmp_path / "study")
    events = []
    for event in stream(plan, tmp_path / "study", mirror=str(tmp_path / "drive" / "mirror")):
        events.append(event)
        if isinstance(event, StudyEnded):
            (tmp_path / "drive").mkdir()  # mounted

    failed, recovered = of_kind(MirrorFailed, events), of_kind(MirrorRecovered, events)
    assert [event.reason.split(";")[0] for event in failed] == [
        f"there is no folder {tmp_path / 'drive'}"
    ]
    assert len(recovered) == 1
    shutil.rmtree(tmp_path / "study")
    again = run(plan, tmp_path / "study", mirror=str(tmp_path / "drive" / "mirror"))
    assert [event.ended for event in of_kind(StudyRestored, again)] == [3]


def test_a_mirror_that_cannot_be_read_begins_no_second_study(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    with pytest.raises(TuneError, match=r"drive/mirror cannot be read: there is no folder"):
        run(make_plan(), tmp_path / "study", mirror=str(tmp_path / "drive" / "mirror"))

    assert not (tmp_path / "study" / "study.db").exists()


def test_the_folder_of_a_study_is_no_mirror(tmp_path: Path, make_plan: MakePlan) -> None:
    run(make_plan(trials=1), tmp_path / "study")

    with pytest.raises(TuneError, match="is the folder of a study, not a mirror"):
        run(make_plan(), tmp_path / "other", resume_from=str(tmp_path / "study"))


def test_a_restoration_that_is_interrupted_is_begun_again(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan, out, mirror = make_plan(trials=2, keep="all"), tmp_path / "study", tmp_path / "mirror"
    run(plan, out, mirror=str(mirror), until=in_epoch(1, 4))
    whole = outcome_of_files(out)
    shutil.rmtree(out)
    # Killed before the database got its name: the rest is there.
    run(plan, out, mirror=str(mirror), until=lambda event: isinstance(event, StudyRestored))
    (out / "study.db").unlink()
    for backup in out.glob("study.db.backup*"):
        backup.unlink()

    events = run(plan, out, mirror=str(mirror), until=in_epoch(1, 6))

    assert of_kind(TrialStarted, events)[0].resumed_after == whole
    assert (out / "checkpoints.before-1").is_dir()


def outcome_of_files(out: Path) -> int:
    """The newest epoch of trial 1's checkpoints."""
    paths = (out / "checkpoints" / "trial-00001").glob("step-*")
    return max(int(path.stem.removeprefix("step-")) for path in paths)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.slow
def test_a_full_mirror_is_reported_once_and_the_study_continues(
    folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    disk = folder / "disk"
    with small_disk(disk, 100):
        process = start("run", "study.yaml", "--trials", "8", "--mirror", "disk/mirror")
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert err.count("the mirror was not written: No space left on device") == 1
        assert err.count("its last version was not written") == 1

        mount("-o", "remount,size=64m", str(disk))
        process = start("run", "study.yaml", "--trials", "8", "--mirror", "disk/mirror")
        _, err = process.communicate()
        assert (process.returncode, "the mirror was not" in err) == (0, False), err
        restored = restore(RemoteFolder(str(disk / "mirror")), folder / "restored", name="small")
        assert restored is not None
        assert outcome(folder / "restored") == outcome(folder / "runs/small")


def test_a_trial_that_is_taken_over_on_another_machine_goes_on_where_it_was(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    """Several supervisors, each with a folder of its own, on one database and one mirror."""
    plan, mirror = make_plan(trials=2, search=NO_HALVING, keep="all"), str(tmp_path / "mirror")
    where = {"storage_url": f"sqlite:///{tmp_path}/shared.db", "mirror": mirror}
    run(plan, tmp_path / "undisturbed")
    run(plan, tmp_path / "one", **where, until=in_epoch(0, 4))
    kept = max(int(path.stem[5:]) for path in (tmp_path / "one").rglob("step-*"))
    shutil.rmtree(tmp_path / "one")

    events = run(plan, tmp_path / "other", **where)

    resumed = of_kind(TrialStarted, events)[0]
    assert (resumed.trial, resumed.attempt, resumed.starts_over) == (0, 2, "")
    assert resumed.resumed_after == kept >= 4
    assert not of_kind(MirrorFailed, events)
    trials = read_study(where["storage_url"], name="tiny").trials
    configs = [trial.config for trial in trials]
    assert configs == [trial.config for trial in read_study(tmp_path / "undisturbed").trials]
    assert [epoch.epoch for epoch in trials[0].curve] == [1, 2, 3, 4, 5, 6]
    assert len(writers_of(RemoteFolder(mirror))) == 2


def test_a_trial_without_its_checkpoint_starts_over_and_says_so(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=1)
    where = {"storage_url": f"sqlite:///{tmp_path}/shared.db"}
    run(plan, tmp_path / "one", **where, until=in_epoch(0, 4))

    events = run(plan, tmp_path / "other", **where)

    (started,) = of_kind(TrialStarted, events)
    assert (started.attempt, started.resumed_after) == (2, 0)
    assert started.starts_over == "there is no checkpoint of it"
    assert of_kind(EpochTrained, events)[0].epoch.epoch == 1


def test_finished_features_of_the_study_are_mirrored_and_restored(
    tmp_path: Path, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its data set, which is all 'd' for scripted workers; one that is unfinished is not."""
    sets = {"a" * 32: ("d" * 64, ""), "b" * 32: ("e" * 64, ""), "c" * 32: ("d" * 64, ".part")}
    for name, (data, ending) in sets.items():
        folder = tmp_path / "here" / "features" / name
        folder.mkdir(parents=True)
        (folder / "features.json").write_text(json.dumps({"key": {"data": data}}))
        (folder / f"train.npy{ending}").write_bytes(name.encode() * 100_000)
        (folder / "train.json").write_text("{}")
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "here"))
    plan, mirror = make_plan(trials=2), RemoteFolder(str(tmp_path / "mirror"))

    def features() -> list[str]:
        version = next(newest_versions(mirror, is_path=is_mirrored), None)
        paths = version.files if version is not None else {}
        return [path for path in paths if path.startswith("features/")]

    for event in stream(plan, tmp_path / "study", mirror=mirror.uri):
        # They are copied while it runs, one after the other, from the end of a trial on.
        is_second = isinstance(event, TrialStarted) and event.trial == 1
        while is_second and len(features()) < 3:
            time.sleep(0.02)
    shutil.rmtree(tmp_path / "study")
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "there"))
    run(plan, tmp_path / "study", resume_from=mirror.uri)

    (restored,) = (tmp_path / "there" / "features").iterdir()
    assert restored.name == "a" * 32
    assert digest(restored) == digest(tmp_path / "here" / "features" / restored.name)


def test_addresses_that_cannot_be_mirrors_are_refused_before_anything_starts(
    tune: Callable[..., Any], folder: Path
) -> None:
    cases = {
        ("--mirror", "runs/small/mirror"): "are inside each other",
        ("--mirror", "runs"): "are inside each other",
        ("--mirror", "gopher://a/b"): "is not the address of a folder",
        ("--mirror", "m", "--resume-from", "m"): "name the same folder",
        ("--storage", "sqlite:///a.db", "--resume-from", "m"): "Omit --resume-from",
    }
    for arguments, words in cases.items():
        for end in ((), ("--dry-run",)):
            outcome = tune("run", "study.yaml", *arguments, *end)
            assert (outcome.code, words in outcome.err) == (2, True), outcome
    assert not (folder / "runs").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("gcsfs") is not None, reason="needs an environment without gcsfs"
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tune: Callable[..., Any],
) -> None:
    outcome = tune("run", "study.yaml", "--mirror", "gs://bucket/study")

    assert outcome.code == 2
    assert "gs://bucket/study needs a package that is not installed" in outcome.err
    assert "[mirror]" in outcome.err


def test_a_dry_run_shows_what_would_be_restored(
    tune: Callable[..., Any], folder: Path, mirrored: Path
) -> None:
    (folder / "study.yaml").write_text(json.dumps(DAMAGED))
    shutil.copytree(mirrored / "mirror", folder / "mirror")
    before = digest(folder / "mirror")

    outcome = tune("run", "study.yaml", "--mirror", "mirror", "--dry-run")

    assert "mirror    mirror\n" in outcome.out
    assert "1 ended trial in mirror; the study is restored from there" in outcome.out
    assert not (folder / "runs").exists()
    assert digest(folder / "mirror") == before


REAL_WORKER = """
import os
import effv2_tune.training.trainer as trainer
from effv2_tune.training.worker import main
trainer.CHECKPOINT_SECONDS = 0.0  # after every epoch
os._exit(main())
"""
REAL = {
    "name": "real",
    "data": {"name": "digits", "train": 320, "validation": 128, "test": 100},
    "recipe": {"variant": "tiny", "batch_size": 64, "epochs": 4, "step_size_epochs": 1},
    "search_space": {
        "maximal_learning_rate": {"type": "float", "low": 3e-3, "high": 3e-2, "scale": "log"},
    },
    "search": NO_HALVING,
    "trials": 1,
}


@pytest.mark.slow
def test_a_real_worker_continues_from_a_mirror_to_the_same_curve(tmp_path: Path) -> None:
    plan = StudyPlan.model_validate_json(json.dumps(REAL))
    worker = (sys.executable, "-c", REAL_WORKER)
    mirror = str(tmp_path / "mirror")
    run(plan, tmp_path / "undisturbed", worker=worker)
    run(plan, tmp_path / "first", worker=worker, mirror=mirror, until=in_epoch(0, 2))
    shutil.rmtree(tmp_path / "first")

    events = run(plan, tmp_path / "second", worker=worker, mirror=mirror)

    (started,) = of_kind(TrialStarted, events)
    assert started.resumed_after >= 1
    epochs = [event.epoch.epoch for event in of_kind(EpochTrained, events)]
    assert epochs == list(range(started.resumed_after + 1, 5))
    (one,), (other,) = (read_study(tmp_path / name).trials for name in ("undisturbed", "second"))
    assert one.scores == other.scores
    assert [epoch.train_loss for epoch in one.curve] == [epoch.train_loss for epoch in other.curve]


@pytest.mark.slow
def test_an_orderly_interruption_is_mirrored(
    folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("run", "study.yaml", "--mirror", "mirror", SCRIPT='{"epoch_seconds": 0.2}')
    assert process.stderr is not None
    assert any("trial 1:" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    known = len([t for t in read_study(folder / "runs/small").trials if t.state == "complete"])
    shutil.rmtree(folder / "runs")

    again = start("run", "study.yaml", "--mirror", "mirror")
    _, err = again.communicate(timeout=60)

    assert process.returncode == 130
    assert again.returncode == 0, err
    assert "restored from mirror" in err
    assert f"resuming after {known} trial" in err
