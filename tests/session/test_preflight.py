"""Checks of what a study names: weights, stages, devices and batches."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT
from effv2_tune.host import Packages, probe_host
from effv2_tune.study import yaml_file
from effv2_tune.workers import device_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., object]


TUNED = """\
name: x
data: {name: npz, path: none.npz}
recipe:
  backbone: finetune
  weights: mine/none.h5
search_space:
  variant: {type: choice, values: [b0, m, b1]}
  finetune_from: {type: int, low: 0, high: 7}
trials: 1
"""


NO_STAGE = "finetune_from: there is no stage 7 in b0, b1; give 0 (everything) to 6 ("


@pytest.mark.parametrize("arguments", [("check",), ("run",), ("run", "--dry-run"), ("plan",)])
def test_weights_and_stages_that_are_not_there_are_found_with_all_other_mistakes(
    tune: Tune, folder: Path, arguments: tuple[str, ...]
) -> None:
    (folder / "tuned.yaml").write_text(TUNED)
    before = sorted(folder.rglob("*"))

    done = tune(*arguments, "tuned.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "tuned.yaml:2: data: " in done.err
    assert f"tuned.yaml:5: weights: there is no file {folder / 'mine/none.h5'}; " in done.err
    assert f"tuned.yaml:8: {NO_STAGE}" in done.err
    assert "\n3 errors." in done.err
    assert sorted(folder.rglob("*")) == before


def test_weights_that_are_searched_are_found_where_the_space_is_written(
    tune: Tune, folder: Path
) -> None:
    (folder / "here").mkdir()
    (folder / "here/there.h5").touch()
    values = "[native, imagenet, here/there.h5, here/gone.keras]"
    (folder / "here/space.yaml").write_text(
        f"seed: {{type: choice, values: [1, 2]}}\nweights: {{type: choice, values: {values}}}\n"
    )
    (folder / "tuned.yaml").write_text(
        "name: x\nrecipe: {backbone: finetune}\nsearch_space: here/space.yaml\ntrials: 1\n"
    )

    done = tune("check", "tuned.yaml")

    assert done.code == EXIT_WRONG_INPUT
    gone = f"here/space.yaml:2: weights: there is no file {folder / 'here/gone.keras'}; "
    assert gone in done.err
    assert "\n1 error." in done.err


@pytest.mark.usefixtures("full_cache")
def test_a_stage_that_is_searched_for_the_networks_alone_that_have_it_is_right(
    tune: Tune, folder: Path
) -> None:
    text = TUNED.replace("mine/none.h5", "native").replace("npz, path: none.npz", "digits")
    wrong = text.replace("high: 7}", "high: 7, when: {variant: [b1, m]}}")
    (folder / "wrong.yaml").write_text(wrong)
    (folder / "right.yaml").write_text(wrong.replace("[b1, m]}}", "m}}"))
    (folder / "frozen.yaml").write_text(text.replace("finetune\n", "frozen\n"))

    assert (
        "wrong.yaml:8: finetune_from: there is no stage 7 in b1; "
        in tune("check", "wrong.yaml").err
    )
    assert tune("check", "right.yaml").code == 0
    assert tune("check", "frozen.yaml").code == 0


def test_weights_of_a_training_run_that_are_not_there_are_found_with_its_data(
    tune: Tune, folder: Path
) -> None:
    (folder / "train.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nrecipe:\n  backbone: finetune\n"
        "  weights: none.h5\n  finetune_from: 7\n"
    )
    before = sorted(folder.rglob("*"))

    done = tune("train", "train.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "train.yaml:2: data: " in done.err
    assert "train.yaml:5: weights: there is no file " in done.err
    assert "train.yaml:6: finetune_from: there is no stage 7 in b0; " in done.err
    assert sorted(folder.rglob("*")) == before


def show_chips(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, count: int, pci: str, node: str
) -> None:
    """Let this machine have TPU chips, as the folders of its kernel show them."""
    for number in range(count):
        device = root / f"sys/bus/pci/devices/{number}"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x1ae0\n")
        (device / "device").write_text(f"{pci}\n")
        file = root / "dev" / node.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    packages = Packages(
        jax=True, jax_cuda=False, libtpu=True, tensorflow=True, tensorflow_cuda=False
    )
    monkeypatch.setattr(device_choice, "probe_host", partial(probe_host, root))
    monkeypatch.setattr(device_choice, "probe_packages", lambda: packages)


@pytest.fixture
def tpu_host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has eight chips of v5e."""
    root = tmp_path_factory.mktemp("root")
    show_chips(root, monkeypatch, count=8, pci="0x0063", node="vfio/{}")


@pytest.fixture
def v3_host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is a v3-8: four chips with two cores each."""
    root = tmp_path_factory.mktemp("root")
    show_chips(root, monkeypatch, count=4, pci="0x0027", node="accel{}")


@pytest.mark.usefixtures("tpu_host")
def test_a_tpu_host_takes_a_worker_for_each_chip(tune: Tune, folder: Path) -> None:
    assert tune("run", "study.yaml", "--workers", "8", "--dry-run").code == 0
    text = (folder / "study.yaml").read_text()
    (folder / "target.yaml").write_text(f"{text}workers: 8\ntarget: {{devices: 8, device: v5e}}\n")
    assert tune("check", "target.yaml").code == 0

    done = tune("run", "study.yaml", "--workers", "9", "--dry-run")

    assert done.code == EXIT_WRONG_INPUT
    assert "workers: 9 exceeds the 8 TPU chips of this machine; use at most 8." in done.err
    assert tune("run", "study.yaml", "--dry-run").code == 0
    assert not (folder / "runs").exists()


@pytest.mark.usefixtures("tpu_host")
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "workers: 3\ndevices_per_worker: 4\n",
            "workers: 3 with 4 devices each exceeds the 8 TPU chips of this machine; use at most 2",
        ),
        (
            "hardware: cpu\nbackend: tensorflow\ndevices_per_worker: 2\n",
            "devices_per_worker: 2 is too many for TensorFlow, which trains on one device.",
        ),
        (
            "workers: 8\ntarget: {devices: 16}\n",
            "target: 16 devices exceed the 8 of this machine, and step times are measured on the",
        ),
        (
            "workers: 8\ntarget: {devices: 8, device: v6e}\n",
            "target: v6e is not the device of this machine (TPU v5 lite), and step times are",
        ),
        (
            "workers: 8\ntarget: {devices: 3}\n",
            "target: 3 of the 8 TPU chips of this machine are no rectangle that one process can",
        ),
        (
            "hardware: cpu\nbackend: tensorflow\ntarget: {devices: 8}\n",
            "target: 8 devices are too many for TensorFlow, which trains on one.",
        ),
    ],
)
def test_chips_that_are_not_there_are_found_at_their_line(
    tune: Tune, folder: Path, keys: str, message: str
) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text + keys)

    for arguments in (("check",), ("run",)):
        done = tune(*arguments, "study.yaml")
        assert done.code == EXIT_WRONG_INPUT
        assert re.search(rf"study.yaml:\d+: {re.escape(message)}", done.err)


@pytest.mark.usefixtures("v3_host")
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("workers: 8\n", "workers: 8 exceeds the 8 TPU cores of this machine; use at most 4."),
        (
            "workers: 4\ndevices_per_worker: 1\n",
            "devices_per_worker: 1 would divide a chip: JAX shows its 2 cores as devices, and one",
        ),
        ("target: {devices: 1}\n", "target: 1 devices would divide a chip"),
        ("workers: 4\n", ""),
        ("workers: 2\ndevices_per_worker: 4\ntarget: {devices: 8, device: v3}\n", ""),
    ],
)
def test_workers_of_a_v3_host_have_whole_chips(
    tune: Tune, folder: Path, keys: str, message: str
) -> None:
    (folder / "study.yaml").write_text((folder / "study.yaml").read_text() + keys)

    done = tune("check", "study.yaml")

    assert done.code == (EXIT_WRONG_INPUT if message else 0)
    assert message in done.err


def test_a_batch_that_the_images_cannot_fill_is_found_by_a_dry_run(tune: Tune) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 4, batch_size: 5000"))

    done = tune("run", "study.yaml", "--dry-run")

    assert done.code == EXIT_WRONG_INPUT
    assert "batch_size: 5000 exceeds the 1,293 training images; use at most 1293" in done.err


def test_the_study_file_is_parsed_once(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tuned.yaml").write_text(TUNED)
    parsed = []

    def parse(text: str, *, name: str) -> yaml_file.YamlFile:
        parsed.append(name)
        return parse_yaml(text, name=name)

    parse_yaml = yaml_file.parse_yaml
    monkeypatch.setattr(yaml_file, "parse_yaml", parse)

    assert "3 errors." in tune("run", "tuned.yaml").err
    assert parsed == ["tuned.yaml"]
