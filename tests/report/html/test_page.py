"""The page's HTML: self-contained, escaped, right for studies of every size."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.report.analysis import analyse
from effv2_tune.report.html.notebook import study_html
from effv2_tune.report.html.page import report_figures, report_html, write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial

EVIL = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside = ""
        self.figures: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        del tag
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "figures"}):
            self.figures = json.loads(data)["figures"] if data.strip() else self.figures
        elif self.inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, attribute: str) -> list[str]:
        return [str(found[attribute]) for _, found in self.tags if attribute in found]


@pytest.fixture
def page(study_maker: Callable[..., ReportInput]) -> Page:
    return Page(report_html(study_maker(60)))


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert page.having("src") == []
    assert [link for link in page.having("href") if not link.startswith("#")] == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(found["content"] for _, found in page.tags if "http-equiv" in found)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_embedded_once(study_maker: Callable[..., ReportInput]) -> None:
    text = report_html(study_maker(5))

    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    assert len(text) < 6_000_000


def test_every_link_and_every_figure_has_its_target(page: Page) -> None:
    names = page.having("id")

    assert len(names) == len(set(names))
    assert {link.removeprefix("#") for link in page.having("href")} <= set(names)
    asked = {*page.having("data-figure"), *page.having("data-show")}
    assert asked == set(page.figures)


def test_failures_are_at_the_top_with_reason_and_advice(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = (trial_maker(0, state="diverged"), *(trial_maker(n, state="complete") for n in (1, 2)))

    failing, whole = (
        Page(report_html(study_maker(trials=chosen))) for chosen in (trials, trials[1:])
    )

    assert "1 of 3 trials ended without a result." in failing.text
    assert "1 diverged : the training loss was not a number in epoch 3" in failing.text
    assert "upper bound of maximal_learning_rate" in failing.text
    sections = [found["id"] for tag, found in failing.tags if tag == "section"]
    assert sections[0] == "failures"
    assert "failures" not in whole.having("id")


def test_a_newcomer_reads_what_was_searched_and_what_came_of_it(page: Page) -> None:
    for words in (
        "made-up-cifar10",
        "60 trials over variant, resolution, epochs",
        "on NVIDIA H200",
        "Best quality and knee",
        "Fastest",
        "not completed",
        "effv2-tune export runs/made-up-cifar10 --pick knee -o train.yaml",
        "The test images stay untouched",
        "planned steps times the step time",
        "Where the time went",
        "keras 3.15.1",
        "Okabe-Ito",
    ):
        assert words in page.text


def test_figures_have_text_alternatives(page: Page) -> None:
    plots = [found for _, found in page.tags if str(found.get("class")).startswith("plot")]

    assert len(plots) == 7
    assert all(
        found["role"] in ("img", "group") and len(str(found["aria-label"])) > 40 for found in plots
    )


def test_the_table_has_a_row_for_each_trial_and_units_in_its_headers(page: Page) -> None:
    rows = [found for tag, found in page.tags if tag == "tr" and "data-state" in found]

    assert len(rows) == 60
    assert "training time (min)" in page.text
    assert "resolution (px)" in page.text
    assert "compilation (s)" in page.text


@pytest.fixture
def hostile(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> ReportInput:
    """A study with markup in every text, on two devices; some of its trials lack a recipe."""
    trials = []
    for number in range(40):
        trial = trial_maker(number)
        assert trial.environment is not None
        versions = {EVIL: EVIL}
        device = {"device_kind": f"{EVIL}{number % 2}"}
        environment = device | {"host": EVIL, "versions": versions}
        changes = {
            "config": trial.config | {EVIL: EVIL, "variant": EVIL},
            "recipe": trial.recipe if number % 3 else None,
            "reason": EVIL,
            "notes": (EVIL,),
            "environment": trial.environment.model_copy(update=environment),
            "bucket": trial.bucket and trial.bucket.model_copy(update=device),
        }
        trials.append(trial.model_copy(update=changes))
    texts = {"facts": {EVIL: EVIL}, "folder": EVIL, "written": EVIL, "ended_by": EVIL}
    return study_maker(trials=tuple(trials), name=EVIL).model_copy(update=texts)


def test_texts_of_a_study_are_never_markup(hostile: ReportInput) -> None:
    page = Page(report_html(hostile))

    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    assert EVIL in page.text
    assert set(page.figures) >= {"front-0", "front-1", "curves-quality", "time"}
    figures = json.dumps(page.figures)
    assert "<script>" not in figures
    assert "<img" not in figures


def test_texts_of_a_study_are_never_markup_in_a_notebook(hostile: ReportInput) -> None:
    fragment = Page(study_html(hostile))

    tags = {tag for tag, _ in fragment.tags}
    assert not tags & {"script", "img", "style"}
    assert not any(name.startswith("on") for _, found in fragment.tags for name in found)
    assert EVIL in fragment.text


def test_the_json_of_the_figures_cannot_end_its_element(hostile: ReportInput) -> None:
    text = report_html(hostile)

    data = text.split('<script type="application/json" id="figures">')[1].split("</script>")[0]
    assert "<" not in data
    assert "\\u003c" in data
    assert json.loads(data)["figures"]


@pytest.mark.parametrize("state", ["complete", "pruned", "diverged", "infeasible", "running"])
def test_one_trial_in_any_state_makes_a_page(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial], state: str
) -> None:
    trial = trial_maker(0, state=state)

    page = Page(report_html(study_maker(trials=(trial,))))

    assert {*page.having("data-figure"), *page.having("data-show")} == set(page.figures)
    assert ("--pick knee" in page.text) == (state == "complete")


def test_an_empty_study_makes_a_page(study_maker: Callable[..., ReportInput]) -> None:
    page = Page(report_html(study_maker(trials=())))

    assert "Nothing has been tried yet." in page.text
    assert page.figures == {}


def test_a_trial_without_times_or_dates_makes_a_page(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    bare = {"started": None, "ended": None, "recipe": None, "bucket": None, "curve": ()}
    trials = tuple(trial_maker(n, state="complete").model_copy(update=bare) for n in range(3))

    page = Page(report_html(study_maker(trials=trials)))

    assert "Best quality" in page.text
    assert not any(name.startswith("growth") for name in page.figures)


def test_devices_never_share_a_time_axis(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = [trial_maker(n, device="TPU" if n % 3 else "GPU") for n in range(40)]

    drawn = report_figures(analyse(study_maker(trials=tuple(trials))))

    for place, device in enumerate(["TPU", "GPU"]):
        numbers = {
            number
            for trace in drawn[f"front-{place}"]["data"]
            for number in trace.get("customdata", [])
        }
        assert numbers
        assert numbers <= {number for number in range(40) if (number % 3 > 0) == (device == "TPU")}


def test_a_report_that_cannot_be_written_names_its_path(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder", encoding="utf-8")

    with pytest.raises(TuneError, match="cannot be written to"):
        write_report(study_maker(1), tmp_path / "taken" / "report.html")


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_earlier_report(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("earlier", encoding="utf-8")

    with pytest.raises(TuneError, match="No space left on device"):
        write_report(study_maker(1), path)

    assert path.read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_importing_the_package_loads_nothing_heavy(
    run_python: Callable[..., str],
) -> None:
    modules = ", ".join(
        f"effv2_tune.report.{name}"
        for name in ("html.page", "figures", "html.notebook", "tables.trials", "figures.picture")
    )
    code = (
        f"import sys, {modules};"
        "heavy = {'plotly', 'pandas', 'rich', 'keras', 'matplotlib', 'jinja2'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert run_python(code).strip() == "[]"
