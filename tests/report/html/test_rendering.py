"""The HTML templates: escaped, complete, and part of the package."""

from __future__ import annotations

import re
from importlib.resources import files

import jinja2
import pytest

from effv2_tune.report.html.rendering import render

TEMPLATES = files("effv2_tune.report.html") / "templates"
#: What templates insert as it is: our own files, Plotly, and the drawing, escaped where it is made.
TRUSTED = {"style", "plotly", "script", "drawing", "content"}


def test_only_our_own_files_and_drawings_are_inserted_unescaped() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TEMPLATES.iterdir()]

    assert len(texts) >= 6
    unescaped = {name for text in texts for name in re.findall(r"(\w+) *\| *safe", text)}
    assert unescaped == TRUSTED
    assert not any("autoescape" in text for text in texts)


def test_a_missing_value_is_an_error_rather_than_an_empty_text() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("notebook.html.j2", study=None)


def test_no_module_of_the_report_contains_html_of_the_page() -> None:
    folder = files("effv2_tune.report.html")
    texts = [path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".py")]

    assert not any(re.search(r"</?(div|p|span|table|td|tr|section|li|figure)\b", t) for t in texts)
