"""Without TensorFlow, a study runs, reports, exports and trains on JAX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# Every Python process that has this folder on its path behaves as if TensorFlow were not installed.
SITE = """
import sys


class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, NoTensorFlow())
"""

STUDY = """\
name: small
data: {name: digits, validation: 0.2, test: 0.2}
recipe: {variant: tiny, resolution: 32, batch_size: 32, epochs: 1}
search_space:
  maximal_learning_rate: {type: float, low: 5e-3, high: 3e-2, scale: log}
search: {engine: ENGINE, halving: {enabled: false}}
trials: 2
"""

PUBLIC_NAMES = """
import sys
import effv2_tune

for name in effv2_tune.__all__:
    getattr(effv2_tune, name)
model = effv2_tune.efficientnet_v2("b0", classes=10, input_shape=(32, 32, 3))
import keras
print(keras.backend.backend(), "tensorflow" in sys.modules)
"""


@pytest.fixture
def no_tensorflow(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that cannot import TensorFlow and has no backend set."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    path = [str(site), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(path)}


def run(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_tensorflow_is_hidden(no_tensorflow: dict[str, str], tmp_path: Path) -> None:
    done = run("-c", "import tensorflow", env=no_tensorflow, cwd=tmp_path)

    assert "No module named 'tensorflow'" in done.stderr


def test_a_study_runs_reports_exports_and_trains(
    no_tensorflow: dict[str, str], tmp_path: Path
) -> None:
    def tune(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = run("-m", "effv2_tune", *arguments, env=no_tensorflow, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done

    (tmp_path / "study.yaml").write_text(STUDY.replace("ENGINE", "random"))

    assert "TensorFlow is not installed" in tune("doctor").stdout
    assert "worker 0: 1 x" in tune("run", "study.yaml").stderr
    tune("report", "runs/small", "-o", "report.html")
    tune("export", "runs/small", "--pick", "fastest", "-o", "train.yaml")
    tune("train", "train.yaml", "--out", "trained")

    metrics = json.loads((tmp_path / "trained/metrics.json").read_text())
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "trained/model.keras").is_file()
    assert metrics["environment"]["backend"] == "jax"

    Image.fromarray(np.zeros((20, 30, 3), "uint8")).save(tmp_path / "photo.png")
    predicted = json.loads(tune("predict", "trained", "photo.png", "--json").stdout)
    refused = run(
        *("-m", "effv2_tune", "export-model", "trained", "--format", "litert"),
        env=no_tensorflow,
        cwd=tmp_path,
    )
    tune("export-model", "trained", "--format", "keras")

    assert len(predicted[0]["predictions"]) == 5
    assert refused.returncode == 1
    assert "needs tensorflow, which is not installed" in refused.stderr
    assert "[tensorflow]" in refused.stderr
    assert sorted(path.name for path in (tmp_path / "trained/keras").iterdir()) == [
        "classes.txt",
        "model.keras",
        "model_card.md",
    ]


def test_keras_tuner_proposes_configs(no_tensorflow: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("ENGINE", "keras_tuner_random"))

    done = run("-m", "effv2_tune", "run", "study.yaml", env=no_tensorflow, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "All 2 trials of the study are done" in done.stderr


def test_every_public_name_works(no_tensorflow: dict[str, str], tmp_path: Path) -> None:
    done = run("-c", PUBLIC_NAMES, env=no_tensorflow, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jax", "False"]
