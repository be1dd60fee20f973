"""Weights and data are on this machine before the first trial, or no trial is begun."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.files.http_server import CONTENT, Server

from effv2_tune import catalog
from effv2_tune.data.registry import KNOWN
from effv2_tune.errors import EXIT_FAILED, EXIT_INTERRUPTED
from effv2_tune.files.download import RetryPolicy
from effv2_tune.search import read_study
from effv2_tune.session import downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Tune = Callable[..., Any]

FINETUNED = """\
name: tuned
data: {name: mnist}
recipe: {backbone: finetune, weights: native, epochs: 2}
search_space:
  variant: {type: choice, values: [b0, b1]}
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
search: {halving: {enabled: false}}
trials: 3
"""
WEIGHTS = ("efficientnetv2-b0-imagenet.h5", "efficientnetv2-b1-imagenet.h5")
IMAGES = tuple(file.name for file in KNOWN["mnist"].remote)


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of B0, B1 and MNIST, whose contents are what catalog and registry expect."""
    one = Server()
    released, published = {}, []
    for variant, name in zip(("b0", "b1"), WEIGHTS, strict=True):
        content = one.files[f"/{name}"] = variant.encode() + CONTENT
        released[variant, "imagenet"] = replace(
            catalog.WEIGHT_FILES[variant, "imagenet"],
            url=f"{one.address}/{name}",
            md5=hashlib.md5(content).hexdigest(),  # noqa: S324 - the digest that releases have
        )
    for file in KNOWN["mnist"].remote:
        content = one.files[f"/{file.name}"] = file.name.encode()
        checksum = hashlib.sha256(content).hexdigest()
        published.append(replace(file, urls=(f"{one.address}/{file.name}",), sha256=checksum))
    monkeypatch.setattr(catalog, "WEIGHT_FILES", released)
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], remote=tuple(published)))
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(folder / "cache"))
    impatient = RetryPolicy(attempts=2, timeout_seconds=0.5, pause_seconds=0)
    monkeypatch.setattr(downloads, "RETRIES", impatient)
    monkeypatch.setattr(downloads, "REACH_RETRIES", impatient)
    (folder / "tuned.yaml").write_text(FINETUNED)
    yield one
    one.close()


def stop(server: Server) -> None:
    server.close()


def refuse(server: Server) -> None:
    server.status = 503


def lose_one_file(server: Server) -> None:
    del server.files[f"/{WEIGHTS[1]}"]


def replace_one_file(server: Server) -> None:
    server.files[f"/{WEIGHTS[1]}"] = b"<html>moved</html>"


def break_connections(server: Server) -> None:
    server.cut_after = [4] * 4


def answer_nothing(server: Server) -> None:
    server.answers.clear()


def promise_too_much(server: Server) -> None:
    server.claimed_size = 10**15


FAILURES = [
    (stop, "Connection refused"),
    (refuse, f"{WEIGHTS[0]}: HTTP status 503"),
    (refuse, f"{WEIGHTS[1]}: HTTP status 503"),
    (refuse, f"{IMAGES[3]}: HTTP status 503"),
    (lose_one_file, f"{WEIGHTS[1]}: HTTP status 404"),
    (replace_one_file, "provided another file than the published one: its md5 is"),
    (break_connections, "the connection broke after 8 of"),
    (answer_nothing, "timed out"),
    (promise_too_much, "6 downloads need 6e+06 GB, and"),
]


def finished_trials(folder: Path) -> int:
    return len(read_study(folder / "runs/tuned").trials)


def test_weights_of_every_variant_and_the_images_are_fetched_before_the_workers_start(
    tune: Tune, folder: Path, server: Server
) -> None:
    done = tune("run", "tuned.yaml")

    assert done.code == 0, done.err
    log = (folder / "runs/tuned/events.jsonl").read_text().splitlines()
    names = [json.loads(line)["event"] for line in log]
    assert names.index("WorkerReady") > max(
        place for place, name in enumerate(names) if name == "Downloading"
    )
    for name in WEIGHTS:
        assert (folder / "cache/weights" / name).read_bytes() == server.files[f"/{name}"]
        assert f"\ndownloading {name}, 3 MB\n" in done.err
    for name in IMAGES:
        assert (folder / "cache/datasets/mnist" / name).read_bytes() == name.encode()


@pytest.mark.parametrize(("fail", "message"), FAILURES)
def test_a_failed_download_is_an_error_that_spends_no_trial(
    tune: Tune,
    folder: Path,
    server: Server,
    *,
    fail: Callable[[Server], None],
    message: str,
) -> None:
    fail(server)

    done = tune("run", "tuned.yaml")

    assert done.code == EXIT_FAILED
    assert message in done.err
    assert "Traceback" not in done.err
    assert finished_trials(folder) == 0


@pytest.mark.parametrize("fail", [lose_one_file, replace_one_file, break_connections])
def test_the_same_command_continues_when_the_server_is_repaired(
    tune: Tune, folder: Path, server: Server, fail: Callable[[Server], None]
) -> None:
    files = dict(server.files)
    fail(server)
    assert tune("run", "tuned.yaml").code == EXIT_FAILED
    server.files, server.cut_after = files, []

    done = tune("run", "tuned.yaml")

    assert done.code == 0, done.err
    assert finished_trials(folder) == 3


def test_nothing_is_downloaded_while_one_of_the_files_cannot_be_had(
    tune: Tune, folder: Path, server: Server
) -> None:
    lose_one_file(server)

    tune("run", "tuned.yaml")

    assert not (folder / "cache").exists()


def test_a_study_that_has_ended_needs_no_server(tune: Tune, folder: Path, server: Server) -> None:
    assert tune("run", "tuned.yaml").code == 0
    shutil.rmtree(folder / "cache")
    server.close()

    assert tune("run", "tuned.yaml").code == 0
    assert tune("run", "tuned.yaml", "--trials", "4").code == EXIT_FAILED
    assert finished_trials(folder) == 3


def test_ctrl_c_ends_a_download_at_once(
    tune: Tune, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = RetryPolicy(timeout_seconds=600)
    monkeypatch.setattr(downloads, "RETRIES", patient)
    monkeypatch.setattr(downloads, "REACH_RETRIES", patient)

    def interrupt(path: str) -> None:
        if path.endswith(WEIGHTS[1]):
            server.answers.clear()
            os.kill(os.getpid(), signal.SIGINT)

    server.on_request = interrupt
    assert tune("run", "tuned.yaml").code == EXIT_INTERRUPTED
    server.on_request = lambda _: None
    server.answers.set()

    assert finished_trials(folder) == 0
    assert tune("run", "tuned.yaml").code == 0


@pytest.mark.parametrize("command", [("check",), ("run", "--dry-run")])
def test_a_check_asks_the_servers_and_downloads_nothing(
    tune: Tune, folder: Path, server: Server, command: tuple[str, ...]
) -> None:
    there = tune(*command, "tuned.yaml")
    lose_one_file(server)
    gone = tune(*command, "tuned.yaml")

    assert there.code == 0
    assert gone.code == EXIT_FAILED
    assert f"{WEIGHTS[1]}: HTTP status 404" in gone.err
    assert "EFFV2_TUNE_WEIGHTS" in gone.err
    assert sorted(path.name for path in folder.iterdir()) == ["study.yaml", "tuned.yaml"]


def test_a_dry_run_says_how_much_is_downloaded(tune: Tune, server: Server) -> None:
    assert "\ndownload  6 files, 6 MB\n" in tune("run", "tuned.yaml", "--dry-run").out
    server.knows_ranges = False
    assert "\ndownload  6 files, 6 MB\n" in tune("run", "tuned.yaml", "--dry-run").out


def test_a_damaged_file_in_the_cache_is_downloaded_again(
    tune: Tune, folder: Path, server: Server
) -> None:
    tune("run", "tuned.yaml")
    damaged = folder / "cache/weights" / WEIGHTS[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])

    done = tune("run", "tuned.yaml", "--trials", "4")

    assert done.code == 0
    assert damaged.read_bytes() == server.files[f"/{WEIGHTS[0]}"]


def test_every_file_that_the_weights_folder_lacks_is_named_at_once(
    tune: Tune, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFV2_TUNE_WEIGHTS", str(folder))
    (folder / WEIGHTS[1]).write_bytes(b"damaged")

    done = tune("run", "tuned.yaml")

    assert done.code == EXIT_FAILED
    assert f"There is no {WEIGHTS[0]} in the weights folder {folder}." in done.err
    assert f"{folder / WEIGHTS[1]} is not the released file: its MD5 is" in done.err
    assert not [path for path, _ in server.requests if path.endswith(".h5")]


@pytest.mark.parametrize("command", [("check",), ("run",), ("run", "--dry-run")])
def test_a_damaged_weight_file_of_the_users_own_is_found_before_the_first_trial(
    tune: Tune, folder: Path, command: tuple[str, ...]
) -> None:
    (folder / "mine.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    own = FINETUNED.replace("native", "mine.h5").replace("mnist", "digits")
    (folder / "own.yaml").write_text(own)

    done = tune(*command, "own.yaml")

    assert done.code == EXIT_FAILED
    assert f"{folder / 'mine.h5'} cannot be read as weights: " in done.err
    assert "worker 0" not in done.err


@pytest.mark.usefixtures("server")
def test_what_is_trained_from_scratch_needs_no_weights(tune: Tune, folder: Path) -> None:
    scratch = FINETUNED.replace("finetune, weights: native", "scratch").replace("mnist", "digits")
    (folder / "scratch.yaml").write_text(scratch)

    done = tune("run", "scratch.yaml")

    assert done.code == 0
    assert "downloading" not in done.err


def test_a_training_run_whose_weights_cannot_be_had_ends_before_it_begins(
    tune: Tune, folder: Path, server: Server
) -> None:
    (folder / "train.yaml").write_text(
        "name: final\ndata: {name: digits}\n"
        "recipe: {backbone: finetune, weights: imagenet, variant: b1, epochs: 1}\n"
    )
    lose_one_file(server)

    done = tune("train", "train.yaml")

    assert done.code == EXIT_FAILED
    assert f"{WEIGHTS[1]}: HTTP status 404" in done.err
    assert not (folder / "runs").exists()
