"""The tutorial, carried out as it is printed: its files are written, and its commands are run."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.fenced_blocks import ROOT, SHELLS, blocks, command_lines

from effv2_tune.network.exchange import CONVERTERS
from effv2_tune.search import read_study
from effv2_tune.session.models.formats import FORMATS, Format
from effv2_tune.study.loading import load_plan

pytestmark = pytest.mark.slow

TUTORIAL = list(blocks([ROOT / "docs" / "tutorial.md"]))
COMMANDS = [line for block in TUTORIAL if block.language in SHELLS for line in command_lines(block)]
CLASSES = 10
Images = npt.NDArray[np.uint8]
#: The formats that need no extra but a backend's.
EXPORTED: tuple[Format, ...] = ("keras", "saved-model", "litert")


class Walked:
    """The folder in which the tutorial was carried out, and what its commands printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, subprocess.CompletedProcess[str]] = {}

    def carry_out(self) -> None:
        """Write the files that the page shows, and run its commands; stop at one that fails."""
        for block in TUTORIAL:
            if block.title:
                (self.folder / block.title).write_text(block.text)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = os.environ | {"PATH": path, "EFFV2_TUNE_CACHE": str(self.folder / "cache")}
        for line in COMMANDS:
            self.done[line] = subprocess.run(
                ["/bin/sh", "-c", line],
                cwd=self.folder,
                env=env,
                capture_output=True,
                text=True,
                timeout=1200,  # the search takes two minutes, and five beside other work
                check=False,
            )
            if self.done[line].returncode:
                break


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    walked = Walked(tmp_path_factory.mktemp("tutorial"))
    walked.carry_out()
    return walked


def stored(photo: Path) -> Images:
    """A photograph at the size that the training stored, which every format takes."""
    return np.asarray(Image.open(photo).convert("RGB").resize((48, 48)), np.uint8)


def top_classes(path: Path, form: Format, images: Images) -> list[int]:
    """The most probable class of each image by a model in a format."""
    _, run = CONVERTERS[form]
    return [int(best) for best in run(path, images).argmax(-1)]


def test_every_command_of_the_tutorial_succeeds(walked: Walked) -> None:
    for line, done in walked.done.items():
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert list(walked.done) == COMMANDS


def test_the_tutorial_goes_all_the_way() -> None:
    called = [line.split()[1] for line in COMMANDS if line.startswith("effv2-tune ")]

    assert list(dict.fromkeys(called)) == [
        *("check", "plan", "run", "status", "report", "export", "train", "predict", "export-model")
    ]


def test_the_study_has_a_front_and_all_of_its_trials_are_complete(walked: Walked) -> None:
    record = read_study(walked.folder / "runs" / "photos")

    assert record.front()
    assert {trial.state for trial in record.trials} == {"complete"}
    assert (walked.folder / "runs" / "photos" / "report.html").is_file()


def test_new_photographs_are_predicted_far_better_than_by_chance(walked: Walked) -> None:
    rows = list(csv.DictReader(io.StringIO((walked.folder / "new.csv").read_text())))
    right = sum(row["class_1"] == Path(row["image"]).stem.split("-")[0] for row in rows)

    assert len(rows) == 4 * CLASSES
    assert right / len(rows) >= 5 / CLASSES


# TensorFlow's interpreter, which needs no further package; its successor is ai_edge_litert.
@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning")
def test_exported_models_predict_the_same_classes_as_the_trained_one(walked: Walked) -> None:
    model = walked.folder / "models" / "photos"
    photos = sorted((walked.folder / "new").iterdir())[:32]
    images = np.stack([stored(photo) for photo in photos])
    expected = top_classes(model / "model.keras", "keras", images)
    assert len(set(expected)) > 1
    for form in EXPORTED:
        assert top_classes(model / form / FORMATS[form].file, form, images) == expected, form


def test_the_study_for_pretrained_weights_is_valid(walked: Walked) -> None:
    tried, real = (load_plan(walked.folder / f"{name}.yaml").plan for name in ("study", "real"))

    assert real.recipe.weights == "imagenet"
    assert real.name != tried.name
    assert real.data.path == tried.data.path
