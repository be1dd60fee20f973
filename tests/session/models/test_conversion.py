"""Exported models give the outputs of the Keras model."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.session.models.small_model import CLASSES, save_model

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT, TuneError
from effv2_tune.session.models.agreement import IMAGES, TOLERANCE, Agreement
from effv2_tune.session.models.conversion import ExportedModel, export_model
from effv2_tune.session.models.formats import FORMATS, Format, check_packages
from effv2_tune.study.model_facts import read_facts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.keras"
    save_model(path, shape=(48, 56))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FORMATS))
def test_an_exported_model_has_the_same_top_class_on_32_images(
    form: Format, model: Path, tmp_path: Path
) -> None:
    missing = [name for name, module in FORMATS[form].packages.items() if not find_spec(module)]
    if missing:
        pytest.skip(f"exporting to {form} needs {', '.join(missing)}: extra {FORMATS[form].extra}")

    exported = export_model(model, form, out=tmp_path / "out" / "there")

    assert exported.path == tmp_path / "out" / "there" / FORMATS[form].file
    assert exported.path.exists()
    assert exported.agreement.images == exported.agreement.same_top1 == IMAGES
    assert exported.agreement.largest_difference <= TOLERANCE
    any_size = FORMATS[form].takes_any_size
    assert exported.input_shape == ((None, None, 3) if any_size else (48, 56, 3))
    classes = (exported.path.parent / "classes.txt").read_text()
    assert tuple(classes.splitlines()) == exported.classes == CLASSES
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["there"]


@pytest.mark.slow
def test_a_keras_export_keeps_its_facts_and_is_put_beside_the_model(model: Path) -> None:
    exported = export_model(model.parent, "keras")

    assert exported.path == model.parent / "keras" / "model.keras"
    assert read_facts(exported.path) == read_facts(model)


def test_a_folder_that_exists_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="exists already, and is not overwritten") as refused:
        export_model(model, "saved-model", out=tmp_path)

    assert refused.value.exit_code == EXIT_WRONG_INPUT
    assert list(tmp_path.iterdir()) == []


def test_packages_that_are_missing_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("tf2onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(TuneError) as refused:
        check_packages("onnx")

    assert refused.value.message == (
        "Exporting to ONNX needs tf2onnx, onnxruntime, which are not installed."
    )
    assert "[onnx]" in str(refused.value.hint)
    assert refused.value.exit_code == EXIT_FAILED


def test_a_process_that_dies_is_an_error_with_the_end_of_its_output(
    model: Path, tmp_path: Path
) -> None:
    code = "import os; print('out of luck', flush=True); os.kill(os.getpid(), 9)"

    with pytest.raises(TuneError, match=r"exports to Keras ended: killed \(SIGKILL\)") as refused:
        export_model(model, "keras", out=tmp_path / "new", command=[sys.executable, "-c", code])

    assert "out of luck" in str(refused.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_whose_outputs_differ_is_not_exported(model: Path, tmp_path: Path) -> None:
    """The process, with a writer that writes another model."""
    code = """
import sys
import numpy as np
from effv2_tune.network import exchange
from effv2_tune.session.models import conversion_process

def run(path, images):
    return np.roll(exchange.run_saved_model(path, images), 1, axis=1)

exchange.CONVERTERS["saved-model"] = (exchange.write_saved_model, run)
sys.exit(conversion_process.main(sys.argv[1:]))
"""
    with pytest.raises(TuneError, match="The exported model differs from") as refused:
        export_model(
            model, "saved-model", out=tmp_path / "new", command=[sys.executable, "-c", code]
        )

    assert "on 0 of 32 images" in refused.value.message
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_json() -> None:
    agreement = Agreement(images=32, same_top1=32, largest_difference=1e-6)
    exported = ExportedModel(Path("a/model.onnx"), "onnx", ("x", "y"), (48, 56, 3), agreement)

    plain = json.loads(json.dumps(exported.plain()))

    assert plain["input_shape"] == [48, 56, 3]
    assert plain["agreement"]["same_top1"] == 32
    assert "of 48 x 56 px" in exported.sentence()
