"""The final training: its results, and that it is finished only once."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

import effv2_tune
from effv2_tune.data import load_dataset
from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.study.model_facts import read_facts
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.study.training_run import Provenance
from effv2_tune.study.trial import Environment, Scores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECIPE = Recipe(
    variant="tiny",
    resolution=40,
    epochs=3,
    batch_size=64,
    optimizer="adamw",
    epsilon=1e-7,
    maximal_learning_rate=1e-2,
    select="best",
    ema=True,
    ema_momentum=0.8,
    data=DataSpec(validation=200, test=300),
)

# A process of a user: nothing of this package is imported.
OPEN_THE_MODEL = """
import json, sys
import keras, numpy as np
model = keras.saving.load_model({model!r})
images, labels = np.load({images!r}), np.load({labels!r})
predicted = model.predict(images, verbose=0).argmax(axis=1)
assert not any(name.startswith("effv2_tune") for name in sys.modules)
print(json.dumps(int((predicted == labels).sum())))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    effv2_tune.train(RECIPE, out=out, hardware="cpu")
    return out


def _metrics(out: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def test_it_leaves_the_test_figures_the_seconds_and_where_it_ran(out: Path) -> None:
    metrics = _metrics(out)

    assert metrics["test_count"] == 300
    assert metrics["test"]["accuracy"] == metrics["test_correct"] / 300
    assert metrics["test"]["top5"] >= metrics["test"]["accuracy"]
    assert 0 < metrics["test_standard_error"] < 0.03
    assert metrics["steps"] == 3 * (1297 // 64)
    assert metrics["train_seconds"] == pytest.approx(
        metrics["steps"] * metrics["times"]["step_bucket"]
    )
    assert metrics["environment"]["backend"] == "tensorflow"
    assert metrics["data_digest"] == load_dataset(RECIPE.data, base=out).digest


def test_it_leaves_the_learning_curve(out: Path) -> None:
    with (out / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = _metrics(out)["selected_epoch"]
    assert float(rows[best - 1]["validation_accuracy"]) == max(
        float(row["validation_accuracy"]) for row in rows
    )


def test_the_model_opens_without_this_package_and_gives_the_test_accuracy(
    out: Path, run_python: Callable[..., str], tmp_path: Path
) -> None:
    test = load_dataset(RECIPE.data, base=tmp_path).test
    np.save(tmp_path / "images.npy", test.images)
    np.save(tmp_path / "labels.npy", test.labels)

    code = OPEN_THE_MODEL.format(
        model=str(out / "model.keras"),
        images=str(tmp_path / "images.npy"),
        labels=str(tmp_path / "labels.npy"),
    )

    assert json.loads(run_python(code)) == _metrics(out)["test_correct"]


def test_the_model_evaluates_at_the_resolution_of_evaluation(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    recipe = RECIPE.with_settings(resolution=32, evaluation_resolution=48, epochs=2)
    trained = effv2_tune.train(recipe, out=tmp_path / "run", hardware="cpu")
    same = recipe.with_settings(evaluation_resolution="same", select="last")
    other = effv2_tune.train(same, out=tmp_path / "other", hardware="cpu")
    test = load_dataset(RECIPE.data, base=tmp_path).test
    np.save(tmp_path / "images.npy", test.images)
    np.save(tmp_path / "labels.npy", test.labels)

    code = OPEN_THE_MODEL.format(
        model=str(trained.model_path),
        images=str(tmp_path / "images.npy"),
        labels=str(tmp_path / "labels.npy"),
    )

    assert json.loads(run_python(code)) == trained.metrics["test_correct"]
    assert trained.metrics["test"]["loss"] != other.metrics["test"]["loss"]


def test_the_model_averages_over_both_views_where_the_evaluation_did(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    recipe = RECIPE.with_settings(flip="alternating", evaluation_flip=True, epochs=2)
    test = load_dataset(RECIPE.data, base=tmp_path).test
    np.save(tmp_path / "images.npy", test.images)
    np.save(tmp_path / "labels.npy", test.labels)

    result = effv2_tune.train(recipe, out=tmp_path / "run", hardware="cpu")

    code = OPEN_THE_MODEL.format(
        model=str(result.model_path),
        images=str(tmp_path / "images.npy"),
        labels=str(tmp_path / "labels.npy"),
    )
    assert json.loads(run_python(code)) == result.metrics["test_correct"] > 30
    assert result.metrics["times"]["evaluate"] > 0


def test_the_classes_are_in_the_metrics_the_model_and_a_text_file(out: Path) -> None:
    digits = [str(digit) for digit in range(10)]
    facts = read_facts(out / "model.keras")

    assert _metrics(out)["classes"] == list(facts.classes) == digits
    assert (out / "classes.txt").read_text().splitlines() == digits
    assert (facts.variant, facts.resolution, facts.fit) == ("tiny", 40, "crop")
    assert facts.image_shape == load_dataset(RECIPE.data, base=out).facts().image_shape
    assert facts.data_digest == _metrics(out)["data_digest"]


def test_the_model_takes_images_of_any_size(out: Path) -> None:
    model = keras.saving.load_model(out / "model.keras", compile=False)

    assert model.input_shape == (None, None, None, 3)
    assert model.predict(np.zeros((2, 170, 310, 3), "uint8"), verbose=0).shape == (2, 10)


def test_a_finished_run_is_not_repeated_and_not_overwritten(out: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}

    again = effv2_tune.train(RECIPE, out=out, hardware="cpu")
    with pytest.raises(TuneError, match="holds a training run of another recipe"):
        effv2_tune.train(RECIPE.with_settings(seed=1), out=out, hardware="cpu")

    assert again.metrics == _metrics(out)
    assert again.model_path == out / "model.keras"
    assert before == {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.is_file()}


def test_a_run_of_an_earlier_version_is_known_by_its_recipe_without_newer_settings(
    out: Path, tmp_path: Path
) -> None:
    for name in ("recipe.json", "metrics.json"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    written = json.loads((out / "recipe.json").read_text())
    del written["evaluation_flip"]
    (tmp_path / "recipe.json").write_text(json.dumps(written))

    again = effv2_tune.train(RECIPE, out=tmp_path, hardware="cpu")

    assert again.metrics == _metrics(out)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(TuneError, match="holds a training run of another recipe"):
        effv2_tune.train(RECIPE, out=tmp_path, hardware="cpu")


def test_other_images_than_the_search_saw_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"

    with pytest.raises(TuneError, match="not the images that the recipe was found on") as refused:
        effv2_tune.train(RECIPE, out=out, hardware="cpu", data_digest="0" * 64)

    assert refused.value.exit_code == EXIT_WRONG_INPUT
    assert "remove the 'provenance:' section" in str(refused.value.hint)
    assert not out.exists()


def test_a_training_on_the_validation_images_too_is_tested_and_not_validated(
    out: Path, tmp_path: Path
) -> None:
    data = RECIPE.data.model_copy(update={"train_on": "train+validation"})
    recipe = RECIPE.with_settings(select="last", data=data.model_dump())
    found = Provenance(
        study="digits",
        trial=3,
        pick="knee",
        validation=Scores.model_validate(_metrics(out)["validation"]),
        validation_count=200,
        train_seconds=10.0,
        environment=Environment.model_validate(_metrics(out)["environment"]),
        data_digest=_metrics(out)["data_digest"],
    )

    trained = effv2_tune.train(
        recipe, out=tmp_path, hardware="cpu", data_digest=found.data_digest, provenance=found
    )

    metrics = trained.metrics
    assert (metrics["train_count"], _metrics(out)["train_count"]) == (1497, 1297)
    assert metrics["steps"] == 3 * (1497 // 64)
    assert metrics["validation"] is None
    assert metrics["selected_epoch"] == 3
    assert metrics["test_count"] == 300
    assert trained.test.accuracy > 0.2
    # The search expected 10 seconds for 20 steps an epoch.
    assert metrics["promise"]["validation"] is None
    assert metrics["promise"]["seconds"]["expected"] == pytest.approx(10.0 * 23 / 20)
    with (tmp_path / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["validation_accuracy"] for row in rows} == {""}
    assert all(float(row["train_loss"]) > 0 for row in rows)
    again = effv2_tune.train(recipe, out=tmp_path, hardware="cpu")
    assert again.metrics == metrics
    with pytest.raises(TuneError, match="holds a training run of another recipe"):
        effv2_tune.train(RECIPE.with_settings(select="last"), out=tmp_path, hardware="cpu")


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    recipe = RECIPE.with_settings(optimizer="sgd", maximal_learning_rate=1e30, ema=False)

    with pytest.raises(TuneError, match="ended diverged: The loss became NaN in epoch 1"):
        effv2_tune.train(recipe, out=tmp_path, hardware="cpu")
