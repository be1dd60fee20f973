"""A study as an HTML fragment for notebooks."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

from effv2_tune.report.html.notebook import study_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_notebook_gets_a_fragment_without_scripts_or_references(
    study_maker: Callable[..., ReportInput],
) -> None:
    fragment = study_html(study_maker(60, name="<script>alert(1)</script>"))
    tags = _Tags()
    tags.feed(fragment)

    names = {name for name, _ in tags.seen}
    assert {"svg", "table"} <= names
    assert not names & {"script", "link", "style", "img", "iframe", "html", "body"}
    assert not any({"src", "href"} & set(attributes) for _, attributes in tags.seen)
    assert "&lt;script&gt;" in fragment


def test_a_notebook_shows_a_study_before_its_first_complete_trial(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    assert "Nothing has been tried yet" in study_html(study_maker(trials=()))
    stopped = study_maker(trials=(trial_maker(0, state="pruned"),))
    assert "no trial is complete yet" in study_html(stopped)
