"""Digits, npz files, digests, summaries and class weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML
from sklearn.datasets import load_digits
from sklearn.utils.class_weight import compute_class_weight

from effv2_tune.data import (
    check_dataset,
    class_weights,
    describe,
    load_dataset,
)
from effv2_tune.errors import TuneError
from effv2_tune.study.bucket import DataFacts
from effv2_tune.study.recipe import DataSpec
from effv2_tune.study.validation_size import small_validation_hint

NPZ = DataSpec(name="npz", path="images.npz", test=0.2, stratify=False)


def arrays(count: int = 60, shape: tuple[int, ...] = (8, 8, 3), classes: int = 3) -> Any:
    images = np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)
    return images, np.arange(count) % classes


def test_digits_are_shown_as_grey_from_0_to_255_in_three_channels() -> None:
    dataset = load_dataset(DataSpec(), base=Path())

    shown = np.concatenate([split.images for split in (dataset.train, dataset.validation)])
    assert dataset.facts().model_copy(update={"digest": ""}) == DataFacts(
        classes=10, image_shape=(8, 8, 3), train=1293, validation=144, test=360, digest=""
    )
    assert set(np.unique(shown)) == {round(value * 255 / 16) for value in range(17)}
    assert (shown == shown[..., :1]).all()
    assert dataset.train.labels.dtype == np.int32
    first = np.round(load_digits().images[0] * 255 / 16)
    everything = np.concatenate([shown, dataset.test.images])[..., 0]
    assert (everything == first).all(axis=(1, 2)).sum() == 1


def test_images_and_labels_cannot_be_written_to() -> None:
    train = load_dataset(DataSpec(), base=Path()).train

    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        train.labels[0] = 0


def test_importing_the_room_loads_no_framework_nor_scikit_learn(run_python: Any) -> None:
    out = run_python(
        "import sys, effv2_tune.data\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'sklearn', 'PIL', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert out.strip() == "[]"


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3)])
def test_an_npz_may_be_grey_or_coloured(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images, labels = arrays(shape=shape)
    np.savez(tmp_path / "images.npz", x=images, y=labels[:, None])

    dataset = load_dataset(NPZ, base=tmp_path)

    assert dataset.train.images.shape == (43, 8, 8, 3)
    assert dataset.classes == ("0", "1", "2")
    assert check_dataset(NPZ, base=tmp_path) == []


def test_an_npz_may_bring_all_its_splits_and_the_names_of_its_classes(tmp_path: Path) -> None:
    splits = {name: arrays(count) for name, count in (("train", 30), ("val", 6), ("test", 9))}
    stored = {f"x_{name}": images for name, (images, _) in splits.items()}
    stored |= {f"y_{name}": labels for name, (_, labels) in splits.items()}
    np.savez_compressed(tmp_path / "images.npz", **stored, classes=np.array(["a", "b", "c"]))

    dataset = load_dataset(DataSpec(name="npz", path="images.npz"), base=tmp_path)

    assert dataset.classes == ("a", "b", "c")
    for split, (images, labels) in zip(
        (dataset.train, dataset.validation, dataset.test), splits.values(), strict=True
    ):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)


def test_oblong_arrays_are_made_square_at_the_stated_size(tmp_path: Path) -> None:
    images, labels = arrays(shape=(8, 12, 3))
    np.savez(tmp_path / "images.npz", x=images, y=labels)

    dataset = load_dataset(NPZ.model_copy(update={"storage_size": 8}), base=tmp_path)
    order = load_dataset(NPZ, base=tmp_path, storage_size=8).train.images

    assert dataset.train.images.shape[1:] == (8, 8, 3)
    np.testing.assert_array_equal(dataset.train.images, order)
    with pytest.raises(TuneError, match="12 x 8, not square"):
        load_dataset(NPZ, base=tmp_path)


def test_the_digest_tells_pixels_labels_and_splits_apart(tmp_path: Path) -> None:
    images, labels = arrays()
    other_pixel, other_label = images.copy(), labels.copy()
    other_pixel[0, 0, 0, 0] ^= 1
    other_label[0] = 1
    forms = {
        "same": (images, labels, NPZ),
        "also the same": (images, labels[:, None].astype(np.uint8), NPZ),
        "a pixel": (other_pixel, labels, NPZ),
        "a label": (images, other_label, NPZ),
        "a seed": (images, labels, NPZ.model_copy(update={"split_seed": 1})),
        "a share": (images, labels, NPZ.model_copy(update={"train": 20})),
    }
    digests = {}
    for name, (pixels, classes, spec) in forms.items():
        np.savez(tmp_path / "images.npz", x=pixels, y=classes)
        digests[name] = load_dataset(spec, base=tmp_path).digest

    assert digests.pop("same") == digests["also the same"]
    assert len(set(digests.values())) == len(digests)


IMAGES, LABELS = arrays()
BAD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"images": IMAGES}, "has the arrays images; expected x_train"),
    ({"x": IMAGES / 255, "y": LABELS}, "x of .* is float64; images are uint8"),
    ({"x": np.zeros((60, 8, 8, 4), np.uint8), "y": LABELS}, r"has shape \(60, 8, 8, 4\)"),
    ({"x": np.zeros((0, 8, 8, 3), np.uint8), "y": LABELS[:0]}, "x of .* is empty"),
    (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :6, :6], "y_test": LABELS},
        "different sizes: 6 x 6 and 8 x 8",
    ),
]
BAD_LABELS: list[tuple[Any, str]] = [
    (LABELS[:-1], "has 59 labels for 60 images"),
    (LABELS - 1, "holds the label -1"),
    (LABELS + 1, "run up to 3, .* 0 has none"),
    (LABELS * 10**6, "run up to 2000000"),
    (LABELS / 2, "is float64; expected whole numbers"),
    (np.eye(3)[LABELS], r"has shape \(60, 3\)"),
    (LABELS * 0, "has one class only, '0'"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_FILES)
def test_an_npz_of_another_make_is_refused_before_and_when_it_is_loaded(
    tmp_path: Path, content: dict[str, Any], sentence: str
) -> None:
    np.savez(tmp_path / "images.npz", **content)

    (found,) = check_dataset(NPZ, base=tmp_path)

    with pytest.raises(TuneError, match=sentence) as refused:
        load_dataset(NPZ, base=tmp_path)
    assert found == str(refused.value).replace("\n", " ")
    assert refused.value.hint


@pytest.mark.parametrize(("labels", "sentence"), BAD_LABELS)
def test_labels_that_number_no_classes_are_refused(
    tmp_path: Path, labels: Any, sentence: str
) -> None:
    np.savez(tmp_path / "images.npz", x=IMAGES, y=labels)

    with pytest.raises(TuneError, match=sentence) as refused:
        load_dataset(NPZ, base=tmp_path)
    assert refused.value.hint


def test_labels_beyond_the_named_classes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=IMAGES, y=LABELS, classes=np.array(["cat", "dog"]))

    with pytest.raises(TuneError, match="holds the label 2, but there are 2 classes, 0 to 1"):
        load_dataset(NPZ, base=tmp_path)


def test_a_file_that_is_missing_or_no_npz_is_refused(tmp_path: Path) -> None:
    assert "There is no file" in check_dataset(NPZ, base=tmp_path)[0]
    (tmp_path / "images.npz").write_text("no archive")

    assert "is not an npz file that NumPy can read" in check_dataset(NPZ, base=tmp_path)[0]


def test_a_split_that_the_digits_cannot_give_is_found_by_the_check() -> None:
    assert "fewer than the 10 classes" in check_dataset(DataSpec(validation=5), base=Path())[0]
    assert check_dataset(DataSpec(), base=Path()) == []


def unbalanced(folder: Path) -> Any:
    labels = np.repeat([0, 1, 2], [40, 40, 20])
    np.savez(folder / "images.npz", x=arrays(100)[0], y=labels)
    return load_dataset(NPZ.model_copy(update={"stratify": True}), base=folder)


def test_a_summary_counts_classes_and_says_when_they_are_unbalanced(tmp_path: Path) -> None:
    dataset = unbalanced(tmp_path)

    summary = describe(dataset)

    counts = [(one.train, one.validation, one.test) for one in summary.classes]
    assert [sum(count) for count in counts] == [40, 40, 20]
    assert (summary.train, summary.validation, summary.test) == (72, 8, 20)
    assert summary.stored_bytes == 100 * 8 * 8 * 3
    assert summary.imbalance == max(counts)[0] / min(counts)[0]
    assert "balanced_accuracy" in summary.hints[0]
    assert "72 training, 8 validation, 20 test images of 3 classes" in summary.lines()[0]
    assert describe(dataset, quality="macro_f1").hints == (small_validation_hint(8, "macro_f1"),)


def test_a_summary_of_balanced_classes_has_no_hint_but_that_on_few_validation_images() -> None:
    dataset = load_dataset(DataSpec(), base=Path())

    assert describe(dataset).hints == (small_validation_hint(144, "accuracy"),)
    assert describe(dataset, quality="loss").hints == ()


def test_a_summary_names_the_classes_that_a_split_lacks(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=IMAGES, y=np.arange(60) % 20)
    spec = NPZ.model_copy(update={"train": 15, "test": 15})

    summary = describe(load_dataset(spec, base=tmp_path))

    assert summary.imbalance == float("inf")
    assert any("The training split has no image of" in hint for hint in summary.hints)


def test_balanced_class_weights_are_those_of_scikit_learn(tmp_path: Path) -> None:
    dataset = unbalanced(tmp_path)
    labels = dataset.train.labels

    weights = class_weights(labels, dataset.classes, "balanced")

    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, theirs, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)


def test_class_weights_by_name_are_1_where_nothing_is_said() -> None:
    labels = np.array([0, 1, 2], np.int32)

    assert class_weights(labels, ("cat", "dog", "owl"), {"dog": 2.5}).tolist() == [1, 2.5, 1]
    with pytest.raises(TuneError, match="did you mean 'dog'"):
        class_weights(labels, ("cat", "dog", "owl"), {"dogg": 2.5})
    with pytest.raises(TuneError, match="no weight for 'owl'"):
        class_weights(labels[:2], ("cat", "dog", "owl"), "balanced")


def test_the_examples_of_the_docs_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    (settings,) = re.findall("```yaml\\n(.*?)```", page, re.DOTALL)
    (code,) = re.findall("```python\\n(.*?)```", page, re.DOTALL)

    exec(code, {})  # noqa: S102 - our own page

    assert "1,293 training" in capsys.readouterr().out
    assert DataSpec(**YAML(typ="safe").load(settings)["data"]).storage_size == 256


def test_columns_are_only_for_tables() -> None:
    with pytest.raises(ValidationError, match="'folder' has no columns"):
        DataSpec(name="folder", path="photos", columns={"path": "file"})
