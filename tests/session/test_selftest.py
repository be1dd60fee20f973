"""`doctor --selftest`: a device held to the trainer's word, and a report that names nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.host import Hardware
from effv2_tune.session.selftest import SelfTest, report_lines, without_names
from effv2_tune.training.device_checks import relative_distance

NAMES = ["dispatch", "devices", "precision", "evaluation", "step time", "resume"]


@pytest.mark.slow
def test_two_devices_pass_and_the_command_loads_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from effv2_tune.cli import run; "
        "code = run(['doctor', '--selftest', '--json', '--backend', 'jax', '--hardware', 'cpu']); "
        "sys.exit(3 if {'jax', 'keras', 'tensorflow'} & set(sys.modules) else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    test = json.loads(done.stdout)["selftest"]
    figures = {check["name"]: check["figure"] for check in test["checks"]}
    assert test["passed"]
    assert list(figures) == NAMES
    assert figures["dispatch"] == (
        "5 steps in one call and one by one: the same weights; "
        "on this device each step is a separate call anyway"
    )
    assert figures["devices"] == "2 of 2 hold the weights, and the copies are equal"
    assert figures["evaluation"] == "203 of 203 images counted, in batches of 64"
    assert figures["resume"].endswith("of 6: the same weights")
    assert "computes in float32" in figures["precision"]
    assert "ms for 64 images" in figures["step time"]
    assert "... training again, and killing the worker in mid-training" in done.stderr
    report = "\n".join(test["report"])
    assert "2 x " in report
    assert "keras 3" in report
    assert socket.gethostname() not in report
    assert str(tmp_path) not in report
    assert not list(tmp_path.rglob("*.log"))


def test_a_process_that_dies_is_a_failed_check_with_its_last_words(tmp_path: Path) -> None:
    said = f"print('at {Path.home()}/images', flush=True)"
    test = SelfTest(
        Hardware("cpu", "tensorflow", 1, "here"),
        folder=tmp_path,
        on_step=lambda _: None,
        command=(sys.executable, "-c", f"{said}; import os; os.abort()"),
    )

    checks = list(test.run())

    assert [check.figure for check in checks] == ["ended by SIGABRT", *["not reached"] * 4]
    assert not test.passed
    report = report_lines(test)
    assert report[-2:] == ["| at ~/images", "--- to here ---"]
    assert "dispatch    FAILED  ended by SIGABRT" in report


@pytest.mark.slow
def test_a_device_that_is_not_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    test = SelfTest(
        Hardware("gpu", "tensorflow", 1, "here"), folder=tmp_path, on_step=lambda _: None
    )

    with pytest.raises(TuneError, match="TensorFlow finds no GPU"):
        list(test.run())


def test_a_report_names_nobody() -> None:
    text = "/home/ada/x of ada on tower: /home/bob/y, /Users/cy/z, adamw; tower-2"

    cleaned = without_names(text, home=Path("/home/ada"), user="ada", host="tower")

    assert cleaned == "~/x of USER on HOST: ~/y, ~/z, adamw; tower-2"


def test_weights_are_as_far_apart_as_their_difference_is_long() -> None:
    one = {"a": np.asarray([3.0, 0.0]), "b": np.asarray([[4.0]])}
    other = {"a": np.asarray([3.0, 3.0]), "b": np.asarray([[0.0]])}

    assert relative_distance(one, one) == 0
    assert relative_distance(one, other) == 1
    assert relative_distance(one, {"a": one["a"]}) == float("inf")
    assert relative_distance(one, {"a": one["a"] * np.nan, "b": one["b"]}) == float("inf")
