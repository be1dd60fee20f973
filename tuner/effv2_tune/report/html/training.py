"""Writes the page of a final training: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from effv2_tune.files.atomic import write_text
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.pareto.promise import Comparison
from effv2_tune.plurals import pluralized
from effv2_tune.report.figures.palette import DARK, PALETTE_NAME
from effv2_tune.report.figures.training import (
    CURVE_LOOKS,
    History,
    confusion_figure,
    confusion_height,
    history_figure,
    learning_rate_figure,
)
from effv2_tune.report.html.page import plain_figure
from effv2_tune.report.html.rendering import asset, render
from effv2_tune.report.html.sections import Plot, Section, View
from effv2_tune.report.promise import promise_sentences
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    percent,
    short,
    with_error,
)
from effv2_tune.report.tables.classes import Confusion
from effv2_tune.study.training_run import (
    CONFUSION_FILE,
    HISTORY_FILE,
    SCHEDULE_FILE,
    read_confusion,
)
from effv2_tune.study.trial import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.report.tables.classes import ClassRow
    from effv2_tune.study.training_run import TrainingRun

SCRIPTS = ("selection.js", "figures.js", "copying.js", "page.js")
#: Classes that a confusion matrix shows; of more, a cell would be too small to be read.
MOST_CLASSES = 40
#: Confused pairs in the table below a matrix, and in place of one.
_PAIRS_BELOW, _PAIRS_ALONE = 10, 40
_RECIPE_PARTS = 3  # beside each other on a wide screen
_VALIDATION = "validation_"


@dataclass(frozen=True)
class TrainingFacts:
    """What the page of a final training shows.

    Attributes:
        run: What was trained.
        metrics: The content of its ``metrics.json``.
        history: Its learning curve.
        schedule: Epochs trained and learning rates; none in folders of earlier versions.
        confusion: Of the test images; None in folders of earlier versions.
        written: When and by which version the page is written; empty leaves it out.
    """

    run: TrainingRun
    metrics: Mapping[str, Any]
    history: History
    schedule: Sequence[tuple[float, float]] = ()
    confusion: Confusion | None = None
    written: str = ""

    @classmethod
    def read(
        cls, folder: Path, run: TrainingRun, metrics: Mapping[str, Any], *, written: str = ""
    ) -> TrainingFacts:
        """The facts of a finished training, from the files in its folder."""
        schedule, confusion = folder / SCHEDULE_FILE, folder / CONFUSION_FILE
        has_confusion = confusion.is_file() and "classes" in metrics
        return cls(
            run,
            metrics,
            read_history(folder / HISTORY_FILE),
            _read_schedule(schedule) if schedule.is_file() else (),
            Confusion(read_confusion(confusion), metrics["classes"]) if has_confusion else None,
            written,
        )


class Card(NamedTuple):
    """A figure at the top of the page."""

    title: str
    number: str
    note: str


def write_training_page(facts: TrainingFacts, path: Path) -> Path:
    """Write the page of a final training to one HTML file, atomically.

    It holds Plotly's JavaScript (about 5 MB), as the report does, and fetches nothing.

    Args:
        facts: Of the training.
        path: The file to write.

    Returns:
        ``path``.

    Raises:
        TuneError: The file cannot be written.
    """
    text = training_html(facts)
    hint = "Make space, or allow writing to the folder, then rerun the same command."
    with disk_errors(f"The page of the training cannot be written to {path}", hint=hint):
        write_text(path, text)
    return path


def training_html(facts: TrainingFacts) -> str:
    """The page's HTML, complete in itself."""
    from plotly.offline import get_plotlyjs

    curves, rates, matrix = _curves(facts), _learning_rates(facts), _matrix(facts)
    sections = [section for section in (curves, rates, matrix) if section is not None]
    views = [view for section in sections if section.plot for view in section.plot.views]
    data = {
        "figures": {view.figure: plain_figure(view.draw()) for view in views},
        "dark": dict(DARK),
        "front": [],
        "trials": {},
    }
    return render(
        "training.html.j2",
        name=facts.run.name,
        summary=_summary(facts),
        cards=_cards(facts),
        promise=_promise(facts),
        seconds=_seconds(facts),
        curves=curves,
        looks=[CURVE_LOOKS[name] + (name,) for name in _drawn(facts)],
        rates=rates,
        matrix=matrix,
        pairs=_pairs(facts),
        class_rows=_class_rows(facts),
        recipe=_recipe(facts.run),
        source=_data(facts),
        environment=_environment(facts.metrics),
        written=facts.written,
        data=data,
        palette=PALETTE_NAME,
        style=asset("page.css"),
        plotly=get_plotlyjs(),
        script="\n".join(map(asset, SCRIPTS)),
    )


def read_history(path: Path) -> History:
    """The learning curve in a ``history.csv``."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    training = {
        name: [float(row[f"train_{name}"]) for row in rows] for name in ("loss", "accuracy")
    }
    scores = [name for name in rows[0] if name.startswith(_VALIDATION)]
    validation = {
        name.removeprefix(_VALIDATION): [float(row[name]) for row in rows]
        for name in scores
        if all(row[name] for row in rows)
    }
    return History([int(row["epoch"]) for row in rows], training, validation)


def _read_schedule(path: Path) -> list[tuple[float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(float(row["epoch"]), float(row["learning_rate"])) for row in csv.DictReader(file)]


def _summary(facts: TrainingFacts) -> str:
    recipe, metrics = facts.run.full_recipe(), facts.metrics
    where = Environment.model_validate(metrics["environment"])
    count = "" if where.device_count == 1 else f"{where.device_count} x "
    images = metrics.get("train_count")
    trained = "" if images is None else f" on {images:,} images"
    if metrics["validation"] is None:
        trained += ", those of the validation among them,"
    return (
        f"EfficientNetV2 {recipe.variant} at {recipe.evaluation_pixels} px, "
        f"{pluralized(recipe.epochs, 'epoch')}{trained} on {count}{where.device_kind} "
        f"({where.backend}, {where.precision}), seed {recipe.seed}."
    )


def _cards(facts: TrainingFacts) -> list[Card]:
    metrics = facts.metrics
    cards = []
    for split in ("test", "validation"):
        scores, errors = metrics[split], metrics.get(f"{split}_standard_errors")
        if scores is None:
            continue
        value = scores["accuracy"]
        number = f"{value:.4f}" if errors is None else with_error(value, errors["accuracy"])
        cards.append(Card(f"{split} accuracy", number, _note(metrics, split)))
    top5 = metrics["test"]["top5"]
    if len(metrics.get("classes", [])) > 5:  # noqa: PLR2004 - among five, each is in the top 5
        cards.append(
            Card("test top-5 accuracy", f"{top5:.4f}", "the class is among the five first")
        )
    promised = (metrics.get("promise") or {}).get("seconds")
    note = "steps alone, without compilation and evaluation"
    if promised is not None:
        note = f"{human_seconds(promised['expected'])} expected"
    cards.append(Card("training time", human_seconds(metrics["train_seconds"]), note))
    return cards


def _note(metrics: Mapping[str, Any], split: str) -> str:
    count = metrics.get(f"{split}_count")
    images = "one standard error" if count is None else f"one standard error, {count:,} images"
    return images if split == "test" else f"{images}, epoch {metrics['selected_epoch']}"


def _promise(facts: TrainingFacts) -> list[str]:
    """What the search expected, and whether it was kept: a sentence each."""
    found, compared = facts.run.provenance, facts.metrics.get("promise")
    if found is None or compared is None:
        return []
    source = f"The recipe is trial {found.trial} of study {found.study} (pick: {found.pick})."
    sentences = promise_sentences(Comparison.from_plain(compared))
    return [source, *(f"{text[0].upper()}{text[1:]}." for text in sentences)]


def _seconds(facts: TrainingFacts) -> dict[str, str]:
    """Where the time went, by name."""
    metrics = facts.metrics
    times = metrics["times"]
    steps = f"{metrics['steps']:,} of {1000 * times['step_bucket']:.3g} ms"
    found = {"training time": human_seconds(metrics["train_seconds"]), "steps": steps}
    promised = (metrics.get("promise") or {}).get("seconds")
    if promised is not None:
        expected = human_seconds(promised["expected"])
        if promised["low"] is not None:
            low, high = human_seconds(promised["low"]), human_seconds(promised["high"])
            expected += f", 90 % interval {low} to {high}"
        found["expected by the search"] = expected
    if metrics.get("extraction_seconds"):
        found["one extraction of features"] = human_seconds(metrics["extraction_seconds"])
    names = {
        "train": "steps as they were trained",
        "evaluate": "evaluation",
        "compile": "compilation",
        "build": "building",
        "extract": "extracting features",
        "measure": "measuring the step time",
        "checkpoint": "checkpoints",
        "wall": "from beginning to end",
    }
    spent = {label: times.get(name, 0.0) for name, label in names.items()}
    return found | {label: human_seconds(amount) for label, amount in spent.items() if amount > 0}


def _drawn(facts: TrainingFacts) -> list[str]:
    return ["training", *(["validation"] if facts.history.validation else [])]


def _curves(facts: TrainingFacts) -> Section:
    history, selected = facts.history, facts.metrics["selected_epoch"]
    quality = facts.run.quality
    scores = dict.fromkeys(
        ["accuracy", "loss", *([quality] if quality in history.validation else [])]
    )
    views = [
        View(
            f"curves-{score}",
            label_of(score).capitalize(),
            partial(history_figure, history, score, selected=selected),
        )
        for score in scores
    ]
    last = ", ".join(
        f"{images} {score} {curves[score][-1]:.4f}"
        for images, curves in (("training", history.training), ("validation", history.validation))
        for score in ("accuracy", "loss")
        if score in curves
    )
    caption = (
        "Training values are means over the epoch, while the weights were changing and with its "
        "augmentations; "
    )
    caption += (
        "validation values are those after it."
        if history.validation
        else "no epoch was validated: the validation images were trained on."
    )
    alternative = (
        f"Learning curves of {pluralized(len(history.epochs), 'epoch')}; at the end: {last}."
    )
    return Section(
        "curves",
        "Learning curves",
        plot=Plot("plot-curves", views, alternative, 380),
        caption=f"{caption} The numbers are in {HISTORY_FILE}.",
    )


def _learning_rates(facts: TrainingFacts) -> Section | None:
    if not facts.schedule:
        return None
    epochs, rates = zip(*facts.schedule, strict=True)
    recipe = facts.run.recipe
    between = f"from {min(rates):.3g} to {max(rates):.3g}"
    draw = partial(learning_rate_figure, epochs, rates)
    return Section(
        "rates",
        "Learning rate",
        plot=Plot(
            "plot-rates",
            [View("rates", "Learning rate", draw)],
            f"Learning rate over the epochs, {between}.",
            300,
        ),
        caption=f"Schedule {recipe.schedule}, {between}. The numbers are in {SCHEDULE_FILE}.",
    )


def _matrix(facts: TrainingFacts) -> Section | None:
    confusion = facts.confusion
    if confusion is None:
        return None
    count = len(confusion.classes)
    mistakes = (
        f"{confusion.mistakes:,} of {confusion.images:,} test images were predicted as another "
        f"class ({percent(confusion.mistakes / max(1, confusion.images))})."
    )
    if count > MOST_CLASSES:
        text = (
            f"{mistakes} A matrix of {count:,} classes cannot be read; these are its largest cells "
            f"off the diagonal. {CONFUSION_FILE} has all of them."
        )
        return Section("confusion", "Confused classes", text=text)
    draw = partial(confusion_figure, confusion)
    return Section(
        "confusion",
        "Confusion matrix",
        text=mistakes,
        plot=Plot(
            "plot-confusion",
            [View("confusion", "Confusion matrix", draw)],
            f"Confusion matrix of {count} classes. {mistakes}",
            confusion_height(count),
        ),
        caption="Each row is a class; the stronger the colour of a cell, the larger the share of "
        "the test images of the class that were predicted as that of the column. The counts are "
        f"in {CONFUSION_FILE}.",
    )


def _pairs(facts: TrainingFacts) -> list[dict[str, str]]:
    if facts.confusion is None:
        return []
    is_alone = len(facts.confusion.classes) > MOST_CLASSES
    return [
        {
            "class": pair.actual,
            "predicted as": pair.predicted,
            "images": f"{pair.images:,}",
            "share of the class": f"{pair.share:.1%}",
        }
        for pair in facts.confusion.pairs(_PAIRS_ALONE if is_alone else _PAIRS_BELOW)
    ]


def _class_rows(facts: TrainingFacts) -> list[dict[str, str]]:
    """A row for each class, those with the lowest recall first."""
    if facts.confusion is None:
        return []
    rows = sorted(facts.confusion.rows(), key=_recall)
    return [
        {
            "class": row.name,
            "images": f"{row.images:,}",
            "recall": _share(row.recall),
            "precision": _share(row.precision),
            "F1": _share(row.f1),
            "predicted": f"{row.predicted:,}",
        }
        for row in rows
    ]


def _recall(row: ClassRow) -> float:
    """For sorting; classes without test images come last."""
    return 2.0 if row.recall is None else row.recall


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _recipe(run: TrainingRun) -> list[dict[str, str]]:
    """Every setting, in parts of about equal length."""
    settings = run.full_recipe().model_dump(exclude={"data", "quality"})
    settings["weights"] = Path(run.recipe.weights).name
    rows = [(label_of(name), short(value)) for name, value in settings.items()]
    length = math.ceil(len(rows) / _RECIPE_PARTS)
    return [dict(rows[start : start + length]) for start in range(0, len(rows), length)]


def _data(facts: TrainingFacts) -> dict[str, str]:
    data = facts.run.data
    # Without its folders, as in the model card: a page may be published with its model.
    source = data.name if data.path is None else f"{data.name}, {Path(data.path).name}"
    given = data.model_dump(exclude={"name", "path", "columns"}, exclude_none=True)
    found = {"source": source, **{label_of(name): short(value) for name, value in given.items()}}
    counts = {
        "training images": facts.metrics.get("train_count"),
        "validation images": facts.metrics.get("validation_count"),
        "test images": facts.metrics["test_count"],
    }
    found |= {name: f"{count:,}" for name, count in counts.items() if count is not None}
    return found | {"SHA-256 of images and splits": facts.metrics["data_digest"]}


def _environment(metrics: Mapping[str, Any]) -> dict[str, str]:
    where = Environment.model_validate(metrics["environment"])
    return {
        "device": f"{where.device_count} x {where.device_kind}",
        "backend": where.backend,
        "precision": where.precision,
        "CPU threads": str(where.threads),
        **where.versions,
    }
