"""The command ``predict``: lines, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.session.models.small_model import CLASSES, picture, save_model

from effv2_tune.errors import EXIT_DONE, EXIT_WRONG_INPUT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Tune = Callable[..., Any]


@pytest.fixture
def photos(folder: Path) -> Path:
    """A trained model in runs/animals, and two photos."""
    save_model(folder / "runs" / "animals" / "model.keras")
    (folder / "photos").mkdir()
    for number in range(2):
        picture(80, 60, seed=number).save(folder / "photos" / f"{number}, or so.png")
    return Path("photos")


def test_a_photo_has_its_most_probable_classes_below_its_name(tune: Tune, photos: Path) -> None:
    done = tune("predict", "runs/animals", str(photos / "0, or so.png"), "--top", "2")
    name, *lines = done.out.splitlines()

    assert done.code == EXIT_DONE
    assert name == "photos/0, or so.png"
    assert len(lines) == 2
    assert {line.split()[1] for line in lines} < set(CLASSES)


def test_a_folder_becomes_csv_with_a_line_for_each_image(tune: Tune, photos: Path) -> None:
    done = tune("predict", "animals", str(photos), "--top", "2")
    header, *rows = csv.reader(io.StringIO(done.out))

    assert done.code == EXIT_DONE
    assert header == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert [row[0] for row in rows] == ["photos/0, or so.png", "photos/1, or so.png"]
    assert all(float(row[2]) >= float(row[4]) for row in rows)


def test_json_is_a_list_of_images(tune: Tune, photos: Path) -> None:
    done = tune("predict", "runs/animals/model.keras", str(photos), "--json")
    found = json.loads(done.out)

    assert [one["image"] for one in found] == ["photos/0, or so.png", "photos/1, or so.png"]
    assert {"class", "probability"} == set(found[0]["predictions"][0])
    assert len(found[0]["predictions"]) == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("predict", "none.keras", "photos"), "There is no file none.keras."),
        (("predict", "photos", "photos"), "There is no file photos/model.keras."),
        (("predict", "animals", "none.jpg"), "none.jpg: does not exist"),
        (("predict", "animals", "study.yaml"), "study.yaml: not an image"),
        (("predict", "animals", "runs"), "runs: a folder without images"),
        (("predict", "animals", "photos", "--top", "7"), "--top 7 exceeds the 6 classes"),
        (("predict", "animals", "photos", "--csv", "--json"), "exclude each other"),
        (("predict", "animals"), "Missing argument"),
        (("export-model", "none.keras", "--format", "onnx"), "There is no file none.keras."),
        (("export-model", "animals", "--format", "onx"), "is not one of"),
    ],
    ids=str,
)
def test_a_mistake_is_a_sentence(
    tune: Tune, photos: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert photos.is_dir()

    done = tune(*arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("predict", "runs/animals", "photos"), ""),
        (
            ("export-model", "runs/animals", "--format", "keras"),
            "the same top-1 class as the Keras model",
        ),
    ],
    ids=["predict", "export-model"],
)
def test_stderr_has_messages_of_the_tool_alone(
    start: Callable[..., subprocess.Popen[str]],
    photos: Path,
    arguments: tuple[str, ...],
    printed: str,
) -> None:
    # As users have it: what this process prints less of is no setting of theirs.
    process = start(*arguments, TF_CPP_MIN_LOG_LEVEL="0")
    out, err = process.communicate(timeout=600)

    assert photos.is_dir()
    assert process.returncode == EXIT_DONE, err
    assert out
    assert printed in err
    assert len(err.splitlines()) == bool(printed), err
