"""The page of a final training."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import pytest
from tests.chromium import NEEDS_CHROMIUM, Browser
from tests.report.training_page import made_up_training

from effv2_tune.errors import TuneError
from effv2_tune.report.html.training import (
    MOST_CLASSES,
    TrainingFacts,
    read_history,
    training_html,
    write_training_page,
)
from effv2_tune.study.training_run import confusion_text, read_confusion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def visible(text: str) -> str:
    """The page without its data and scripts."""
    return text.partition('<script type="application/json"')[0]


def test_the_page_has_results_promise_curves_classes_recipe_and_time() -> None:
    text = training_html(made_up_training())

    page = visible(text)
    assert "<h1>flowers-trial-7</h1>" in page
    assert re.search(r"test accuracy</div><div class=\"number\">0\.\d{4} ± 0\.0120", page)
    assert "3 min 12 s</div>" in page
    assert "3 min expected" in page
    assert "Promise not kept: training took 3 min 12 s, 7 % slower" in page
    for title in ("Learning curves", "Learning rate", "Confusion matrix", "Classes", "Recipe"):
        assert f">{title}</h2>" in page
    assert "<dt>maximal learning rate</dt><dd>0.01</dd>" in page
    assert "3 min, 90 % interval 2 min 50 s to 3 min 10 s" in page
    assert len(re.findall(r"plotly\.js v\d", text)) == 1


def test_names_are_shown_as_they_are_and_no_folder_or_machine_is() -> None:
    text = training_html(made_up_training())

    assert "&lt;b&gt;sunflower&lt;/b&gt;" in visible(text)
    assert "<b>sunflower" not in text
    assert "photos" in visible(text)
    assert "/home/me" not in text
    assert "secret-host" not in text


def test_the_classes_with_the_lowest_recall_come_first() -> None:
    page = visible(training_html(made_up_training(12))).split('id="classes"')[1]

    recalls = re.findall(r"</td>\s*<td>[\d,]+</td>\s*<td>(\d\.\d{4})</td>", page)

    assert len(recalls) == 12
    assert recalls == sorted(recalls)


def test_of_many_classes_the_most_confused_pairs_are_shown_in_place_of_a_matrix() -> None:
    text = training_html(made_up_training(300, images=10))

    page = visible(text)
    assert "A matrix of 300 classes cannot be read" in page
    assert 'id="plot-confusion"' not in page
    assert '"confusion":' not in text
    pairs = page.split("Most confused pairs of classes")[1].split("</table>")[0]
    assert pairs.count("<tr>") == 1 + 40
    images = [int(count) for count in re.findall(r"</td>\s*<td>(\d+)</td>\s*<td>[\d.]+%", pairs)]
    assert images == sorted(images, reverse=True)
    assert page.split('id="classes"')[1].split("</table>")[0].count("<tr>") == 1 + 300


def test_the_largest_matrix_is_still_drawn() -> None:
    assert 'id="plot-confusion"' in training_html(made_up_training(MOST_CLASSES, images=5))


def test_a_training_on_the_validation_images_has_no_validation_curve() -> None:
    page = visible(training_html(made_up_training(validated=False)))

    assert "no epoch was validated: the validation images were trained on." in page
    assert "validation accuracy</div>" not in page
    assert "No validation accuracy compares" in page
    assert "(for 1.10 times the steps of the search)" in page


def test_a_training_of_an_earlier_version_has_the_page_without_its_matrix() -> None:
    page = visible(training_html(made_up_training(recorded=False)))

    assert ">Learning curves</h2>" in page
    assert "Confusion" not in page
    assert "#rates" not in page


def test_the_files_of_a_training_are_read_back(tmp_path: Path) -> None:
    facts = made_up_training()
    with (tmp_path / "history.csv").open("w", newline="") as file:
        table = csv.writer(file)
        names = ["epoch", "learning_rate", "train_loss", "train_accuracy", "seconds"]
        table.writerow([*names, "validation_accuracy", "validation_loss"])
        table.writerow([1, 1e-3, 2.0, 0.25, 3.0, 0.5, 1.5])
        table.writerow([2, 1e-3, 1.0, 0.75, 3.0, 0.625, 1.25])
    (tmp_path / "schedule.csv").write_text("epoch,learning_rate\n0.5,0.001\n1,0.002\n")
    counts = {(0, 0): 3, (0, 4): 1, (3, 3): 2}
    names = facts.metrics["classes"]
    (tmp_path / "confusion.csv").write_text(confusion_text(counts | {(1, 1): 0}, names))

    read = TrainingFacts.read(tmp_path, facts.run, facts.metrics)

    assert read.history.training == {"loss": [2.0, 1.0], "accuracy": [0.25, 0.75]}
    assert read.history.validation == {"accuracy": [0.5, 0.625], "loss": [1.5, 1.25]}
    assert read.schedule == [(0.5, 0.001), (1.0, 0.002)]
    assert read.confusion is not None
    assert (read.confusion.images, read.confusion.mistakes) == (6, 1)
    assert read_confusion(tmp_path / "confusion.csv") == counts


def test_a_learning_curve_without_validation_has_no_scores(tmp_path: Path) -> None:
    text = "epoch,train_loss,train_accuracy,validation_accuracy\n1,2.0,0.5,\n"
    (tmp_path / "history.csv").write_text(text)

    assert read_history(tmp_path / "history.csv").validation == {}


def test_a_page_that_cannot_be_written_is_an_error_message(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="The page of the training cannot be written"):
        write_training_page(made_up_training(), tmp_path / "missing" / "training.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.slow
@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [420, 1400])
@pytest.mark.parametrize("classes", [5, 300])
def test_the_page_is_drawn_without_a_complaint_or_a_request(
    browser: Browser, tmp_path: Path, classes: int, width: int
) -> None:
    page = write_training_page(made_up_training(classes, images=20), tmp_path / "training.html")
    browser.requests.clear()
    browser.complaints.clear()

    browser.show(page, width=width)
    title = "document.querySelector('#plot-curves .ytitle').textContent"
    before = browser.evaluate(title)
    browser.evaluate("document.querySelector('[data-show=curves-loss]').click()")

    assert (before, browser.evaluate(title)) == ("accuracy", "loss")
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
