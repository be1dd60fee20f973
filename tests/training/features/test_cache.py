"""Features on disk: no damage and no kill costs more than the blocks it touched."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest

from effv2_tune import cli
from effv2_tune.errors import TuneError
from effv2_tune.training.features.cache import FeatureCache, FeatureFacts, FeatureKey, limit_bytes
from effv2_tune.training.features.files import FeatureFile

if TYPE_CHECKING:
    from pathlib import Path

KEY = FeatureKey(
    data="d",
    variant="tiny",
    resolution=32,
    resize="bilinear",
    weights="w",
    scaling="tf",
    backend="jax",
    device_kind="cpu",
    device_count=1,
    threads=2,
    version="0.10.2",
    precision="float32",
)
FACTS = FeatureFacts(key=KEY, source="digits", weights_name="imagenet")
ROWS = np.arange(150 * 8, dtype=np.float32).reshape(150, 8)


def _file(folder: Path) -> FeatureFile:
    return FeatureFile(folder, "train", count=150, width=8, block=64)


def _fill(file: FeatureFile) -> None:
    """What an extraction does once it has the lock."""
    gaps = file.missing()
    with file.writing() as writer:
        for start in gaps:
            writer.write(start, ROWS[start : start + 64], 0.25)
    file.finish()


def _written(cache: FeatureCache, key: FeatureKey = KEY) -> Path:
    facts = FACTS.model_copy(update={"key": key})
    with cache.exclusive(facts, on_wait=lambda: None) as folder:
        _fill(_file(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    return FeatureCache()


TORN = {
    "missing": None,
    "empty": "",
    "torn": FACTS.model_dump_json()[:50],
    "of other fields": json.dumps({"key": {"data": "d"}, "source": "digits"}),
    "of another set": FACTS.model_copy(
        update={"key": KEY.model_copy(update={"data": "e"})}
    ).model_dump_json(),
}


def _tear(folder: Path, said: str | None) -> None:
    path = folder / "features.json"
    path.unlink()
    if said is not None:
        path.write_text(said)


@pytest.mark.parametrize("said", TORN.values(), ids=TORN)
def test_a_set_whose_facts_are_lost_is_counted_and_makes_room(
    cache: FeatureCache, said: str | None
) -> None:
    lost = _written(cache)
    other = _written(cache, KEY.model_copy(update={"data": "other"}))
    _tear(lost, said)
    for place in (lost, lost / "features.json"):
        if place.exists():
            os.utime(place, (0, 0))

    one, two = cache.entries()
    assert (one.folder, one.facts, one.arrays) == (lost, None, ("train",))
    assert one.label == f"{lost.name} (of an earlier version, or damaged)"
    assert one.nbytes == sum(path.stat().st_size for path in lost.iterdir())
    assert (two.folder, two.label) == (other, "tiny@32")
    assert [entry.folder for entry in cache.of_changed_data(FACTS)] == [other]
    cache.limit = one.nbytes + two.nbytes
    (removed,) = cache.evict(1, keep=KEY.model_copy(update={"data": "new"}))
    assert removed == one
    assert not lost.exists()


def test_a_set_in_work_makes_no_room_though_its_facts_are_lost(cache: FeatureCache) -> None:
    folder = _written(cache)
    _tear(folder, "")
    cache.limit = 0

    assert cache.evict(0, keep=KEY) == []
    assert folder.exists()


@pytest.mark.parametrize("said", TORN.values(), ids=TORN)
def test_facts_that_are_lost_are_written_again_when_the_set_is_used(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    _tear(_written(cache), said)
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with cache.exclusive(FACTS, on_wait=lambda: None) as folder:
        (entry,) = cache.entries()

    assert entry.facts == FACTS
    assert synced == [(folder / "features.json").stat().st_ino, folder.stat().st_ino]
    with cache.exclusive(FACTS, on_wait=lambda: None):
        assert len(synced) == 2  # what says the same is left alone


def test_a_command_lists_what_it_cannot_read_and_clears_it(
    cache: FeatureCache, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _written(cache)
    _tear(folder, "")
    (cache.folder / "notes").mkdir()  # no feature set

    assert cli.run(["features"]) == 0
    listed = capsys.readouterr().out
    assert f"{folder.name} (of an earlier version, or damaged)  train  0.000 GB  used " in listed
    assert "1 set, 0.00 of 20 GB" in listed
    assert cli.run(["doctor", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["features"]["sets"]
    assert (said["key"], said["source"], said["weights"]) == (None, None, None)
    assert cli.run(["features", "--clear"]) == 0
    assert not folder.exists()
    assert "0 sets" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["inf", "-inf", "nan", "1e300", "-1", "plenty"])
def test_a_limit_without_end_is_no_number_of_gigabytes(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("EFFV2_TUNE_FEATURES_GB", given)

    with pytest.raises(TuneError) as error:
        limit_bytes()

    assert str(error.value).startswith(
        f"EFFV2_TUNE_FEATURES_GB is {given!r}, which is not a finite number of gigabytes."
    )


def test_a_set_that_was_removed_and_begun_anew_is_not_removed_again(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _written(cache)
    (entry,) = cache.entries()
    real = fcntl.flock

    with ExitStack() as third:

        def slow(file: IO[str], how: int) -> None:
            # Between opening the lock and having it: another one removes, a third one begins.
            monkeypatch.setattr(fcntl, "flock", real)
            assert cache.remove(entry)
            third.enter_context(cache.exclusive(FACTS, on_wait=lambda: None))
            real(file, how)

        monkeypatch.setattr(fcntl, "flock", slow)

        assert not cache.remove(entry)
        assert (folder / "features.json").exists()
