"""Writes the card of a trained model: results, recipe, data and limits, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.pareto.estimates import Z90
from effv2_tune.pareto.promise import Comparison
from effv2_tune.plurals import pluralized
from effv2_tune.report.promise import promise_sentences
from effv2_tune.report.quantities import human_seconds, label_of, short
from effv2_tune.study.trial import Environment, Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.training_run import Provenance, TrainingRun

#: Classes that are listed; the others are in classes.txt.
_LISTED = 50
_FITS = {
    "crop": "cropped evenly at both ends of its longer side; what is cut off is not seen",
    "pad": "padded with black",
    "squash": "squashed",
}
_LIMITS = """\
- It knows {classes} classes and no others: an image of anything else gets one of them, often with a
  high probability.
- The intervals are for images like those of the data above; they say nothing about images of
  another source, camera or time.
- Its probabilities were not calibrated.
- As in the training, an image that is not square is {fit}.
- One training, with seed {seed}; another seed gives other results.
- The time is that of the steps on this device; another device, or a busy one, takes another.
"""
_USE = """\
```sh
effv2-tune predict model.keras photo.jpg
```

In Python with Keras alone; the images may have any size:

```python
import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.saving.load_model("model.keras")
classes = open("classes.txt", encoding="utf-8").read().splitlines()
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
print(classes[model.predict(np.asarray(photo)[None])[0].argmax()])
```
"""


def model_card(run: TrainingRun, metrics: Mapping[str, Any]) -> str:
    """The card of a final training.

    Args:
        run: What was trained.
        metrics: The content of its ``metrics.json``.
    """
    parts = [
        f"# {_plain(run.name)}\n",
        _introduction(run, metrics),
        "## Results\n",
        _results(metrics),
        *_search(run.provenance, run.quality, metrics),
        "## Use\n",
        _USE,
        "## Classes\n",
        _classes(metrics.get("classes", [])),
        "## Data\n",
        _data(run, metrics),
        "## Recipe\n",
        _recipe(run.full_recipe()),
        "## Limits\n",
        _limits(run, metrics),
    ]
    return "\n".join(parts)


def _introduction(run: TrainingRun, metrics: Mapping[str, Any]) -> str:
    recipe = run.full_recipe()
    where = Environment.model_validate(metrics["environment"])
    count = "" if where.device_count == 1 else f"{where.device_count} x "
    return _paragraph(
        f"An image classifier: EfficientNetV2 {recipe.variant} (Tan and Le, arXiv 2104.00298) at "
        f"{_pixels(recipe)}, {len(metrics.get('classes', []))} classes. Trained for "
        f"{_epochs(recipe)} on {count}{_plain(where.device_kind)} ({where.backend}, "
        f"{where.precision}), {human_seconds(metrics['train_seconds'])} of training without "
        "compilation and evaluation."
    )


def _epochs(recipe: Recipe) -> str:
    """How many epochs, and how many of them trained the classifier alone."""
    alone = f" (the first {recipe.head_epochs} the classifier alone)" if recipe.head_epochs else ""
    return f"{pluralized(recipe.epochs, 'epoch')}{alone}"


def _pixels(recipe: Recipe) -> str:
    """The resolution of the images that the model sees, and that of training where it differs."""
    if recipe.evaluation_pixels == recipe.pixels:
        return f"{recipe.pixels} px"
    return f"{recipe.evaluation_pixels} px (trained at {recipe.pixels})"


def _results(metrics: Mapping[str, Any]) -> str:
    """Scores with 90 % intervals, on the test images and on those of the validation."""
    splits = {"test": metrics["test"], "validation": metrics["validation"]}
    found = {split: Scores.model_validate(its) for split, its in splits.items() if its is not None}
    errors = {split: metrics.get(f"{split}_standard_errors") for split in found}
    header = ["score", *found]
    rows = [
        [
            "top-5 accuracy" if name == "top5" else label_of(name),
            *(_with_interval(found[split], errors[split], name) for split in found),
        ]
        for name in Scores.model_fields
    ]
    chosen = (
        "the validation images were trained on, and the weights are those of the last epoch"
        if metrics["validation"] is None
        else f"the validation images chose epoch {metrics['selected_epoch']}"
    )
    intervals = _paragraph(
        "In brackets: 90 % intervals, for the choice of the images. The "
        f"{metrics['test_count']:,} test images were used once, after the last epoch, and chose "
        f"nothing; {chosen}."
    )
    return f"{_table(header, rows)}\n{intervals}"


def _with_interval(scores: Scores, errors: Mapping[str, float] | None, name: str) -> str:
    value = scores.value_of(name)
    if errors is None:
        return f"{value:.4f}"
    low, high = value - Z90 * errors[name], value + Z90 * errors[name]
    if name != "loss":
        high = min(high, 1.0)
    return f"{value:.4f} [{max(low, 0.0):.4f}, {high:.4f}]"


def _search(found: Provenance | None, quality: str, metrics: Mapping[str, Any]) -> list[str]:
    """Where the recipe was found, what the search expected, and whether that was kept."""
    if found is None:
        return []
    sentences = [
        (
            f"The recipe is trial {found.trial} of study {_plain(found.study)} (pick: "
            f"{found.pick}), which measured a validation {label_of(quality)} of "
            f"{found.validation.value_of(quality):.4f} on {found.validation_count:,} images."
        )
    ]
    if found.promise is not None:
        promise = found.promise
        sentences.append(
            f"Expected of it with another seed, on other images: {promise.quality:.4f}, 90 % "
            f"interval [{promise.low:.4f}, {promise.high:.4f}]."
        )
    interval = ""
    if found.seconds_low is not None and found.seconds_high is not None:
        ends = human_seconds(found.seconds_low), human_seconds(found.seconds_high)
        interval = f", 90 % interval [{ends[0]}, {ends[1]}]"
    sentences.append(
        f"Expected training time on {_plain(found.environment.device_kind)}: "
        f"{human_seconds(found.train_seconds)}{interval}."
    )
    compared = metrics.get("promise")
    kept = [] if compared is None else promise_sentences(Comparison.from_plain(compared))
    items = "".join(f"- {sentence}\n" for sentence in kept)
    parts = ["## The search\n", _paragraph(" ".join(sentences)), items, _front(found, quality)]
    return [part for part in parts if part]


def _front(found: Provenance, quality: str) -> str:
    """The Pareto front that the trial was picked from; empty where it is not recorded."""
    if not found.front:
        return ""
    header = ["trial", "network", f"validation {label_of(quality)}", "training time"]
    rows = [
        [
            f"**{point.trial}** (this recipe)" if point.trial == found.trial else str(point.trial),
            f"{point.variant} at {point.resolution} px",
            f"{point.quality:.4f}",
            human_seconds(point.train_seconds),
        ]
        for point in found.front
    ]
    return f"The Pareto front of the study, as measured:\n\n{_table(header, rows)}"


def _classes(classes: list[str]) -> str:
    if not classes:
        return "In the order of the outputs: classes.txt.\n"
    named = ", ".join(_plain(name) for name in classes[:_LISTED])
    more = f" and {len(classes) - _LISTED:,} more" if len(classes) > _LISTED else ""
    return f"In the order of the outputs (also in classes.txt): {named}{more}.\n"


def _data(run: TrainingRun, metrics: Mapping[str, Any]) -> str:
    data = run.data
    # Without its folders, which are nobody's business: a card is published with its model.
    source = data.name if data.path is None else f"{data.name}, {_plain(Path(data.path).name)}"
    rows = [["source", source], ["SHA-256 of images and splits", metrics["data_digest"]]]
    given = data.model_dump(exclude={"name", "path", "columns"}, exclude_none=True)
    rows += [[label_of(name), short(value)] for name, value in given.items()]
    return _table(["data", "value"], rows)


def _recipe(recipe: Recipe) -> str:
    settings = recipe.model_dump(exclude={"data", "quality"})
    settings["weights"] = Path(recipe.weights).name
    rows = [[f"`{name}`", _plain(short(value))] for name, value in settings.items()]
    return _table(["setting", "value"], rows)


def _limits(run: TrainingRun, metrics: Mapping[str, Any]) -> str:
    classes = len(metrics.get("classes", [])) or "its"
    return _LIMITS.format(classes=classes, fit=_FITS[run.data.fit], seed=run.recipe.seed)


def _paragraph(text: str) -> str:
    return f"{text}\n"


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _plain(text: str) -> str:
    """A text that Markdown shows as it is: names of files and classes may have any characters."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
