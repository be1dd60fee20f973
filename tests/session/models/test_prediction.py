"""Predictions are those of images prepared as in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tests.session.models.small_model import CLASSES, picture, save_model

from effv2_tune.data.decode import decode_to
from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.session.models.prediction import PredictionSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UPRIGHT, TURNED = 1, 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("run") / "model.keras"
    return path, save_model(path, shape=(40, 56))


def predicted(model: Path, *images: Path, top: int | None = None) -> list[dict[str, float]]:
    session = PredictionSession.load(model, images, top=top)
    return [dict(prediction.classes) for prediction in session.run()]


def test_a_prediction_is_the_output_for_the_image_as_it_was_stored_for_training(
    model: tuple[Path, Any], tmp_path: Path
) -> None:
    path, network = model
    picture(170, 310).save(tmp_path / "photo.png")
    stored = decode_to(tmp_path / "photo.png", (56, 40), "crop")
    wanted = np.asarray(network.predict(stored[None], verbose=0))[0]

    (found,) = predicted(path, tmp_path / "photo.png", top=6)

    assert list(found) == [CLASSES[index] for index in (-wanted).argsort(kind="stable")]
    assert found == pytest.approx(dict(zip(CLASSES, wanted.tolist(), strict=True)), abs=1e-5)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_a_photo_is_turned_upright(model: tuple[Path, Any], tmp_path: Path) -> None:
    upright = picture(90, 60)
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = TURNED  # the camera was held upright: stored lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)

    one, other = predicted(model[0], tmp_path / "upright.png", tmp_path / "turned.png")

    # An image's place in the batch changes the last bits.
    assert one == pytest.approx(other, abs=1e-6)


def test_the_most_probable_classes_come_first(model: tuple[Path, Any], tmp_path: Path) -> None:
    picture(50, 50).save(tmp_path / "photo.png")

    (five,) = predicted(model[0], tmp_path / "photo.png")
    (two,) = predicted(model[0], tmp_path / "photo.png", top=2)

    assert len(five) == 5
    assert list(two) == list(five)[:2]
    assert sorted(five.values(), reverse=True) == list(five.values())


def test_a_folder_is_every_image_below_it_in_order(model: tuple[Path, Any], tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/2.png", "a/b/1.PNG", "a/1.jpg", "a/.hidden.png"):
        picture(50, 40).save(tmp_path / name, format="PNG")
    (tmp_path / "a" / "notes.txt").write_text("no image")

    session = PredictionSession.load(model[0], [tmp_path / "a", tmp_path / "a" / "1.jpg"])
    found = [prediction.path for prediction in session.run()]

    assert found == [tmp_path / "a" / name for name in ("1.jpg", "2.png", "b/1.PNG")]


def test_many_images_are_predicted_as_each_alone(model: tuple[Path, Any], tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(35)]
    for number, file in enumerate(files):
        picture(60, 60, seed=number).save(file)

    together = predicted(model[0], *files, top=6)
    alone = [predicted(model[0], files[number], top=6)[0] for number in (0, 34)]

    assert len(together) == 35
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert together[34] == pytest.approx(alone[1], abs=1e-5)


def test_every_mistake_is_named_at_once_before_anything_is_loaded(
    model: tuple[Path, Any], tmp_path: Path, run_python: Callable[..., str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    wanted = [str(tmp_path / name) for name in ("text.png", "none.jpg", "empty")]
    code = f"""
import sys
from effv2_tune.cli import run
code = run(["predict", {str(model[0])!r}, *{wanted!r}, "--top", "7"])
print(code, sorted(set(sys.modules) & {{"keras", "tensorflow", "jax"}}))
"""

    with pytest.raises(TuneError) as refused:
        PredictionSession.load(model[0], [tmp_path / "none.jpg", tmp_path / "text.png"], top=7)

    assert run_python(code).splitlines()[-1] == f"{EXIT_WRONG_INPUT} []"
    assert "--top 7 exceeds the 6 classes" in refused.value.message
    assert "2 images cannot be read" in refused.value.message
    assert "none.jpg: does not exist" in refused.value.message
    assert "text.png: not an image in a format that Pillow knows" in refused.value.message


def test_an_image_that_breaks_off_is_left_out_and_named_at_the_end(
    model: tuple[Path, Any], tmp_path: Path
) -> None:
    picture(200, 200).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    session = PredictionSession.load(model[0], [tmp_path / "torn.png", tmp_path / "good.png"])
    found: list[str] = []

    with pytest.raises(TuneError, match=r"1 image cannot be decoded .*\n.*torn.png") as refused:
        found.extend(prediction.path.name for prediction in session.run())

    assert found == ["good.png"]
    assert refused.value.exit_code == EXIT_WRONG_INPUT


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_model_itself_prepares_photos_of_any_size_nearly_as_predict_does(
    fit: str, tmp_path: Path
) -> None:
    network = save_model(tmp_path / "model.keras", fit=fit)
    photo = picture(170, 310)
    photo.save(tmp_path / "photo.png")

    (found,) = predicted(tmp_path / "model.keras", tmp_path / "photo.png", top=6)
    inside = np.asarray(network.predict(np.asarray(photo)[None], verbose=0))[0]

    assert found == pytest.approx(dict(zip(CLASSES, inside.tolist(), strict=True)), abs=0.02)
