"""The pages by the rules of axe-core: nothing to object to, at any width, light and dark."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.chromium import NEEDS_CHROMIUM, Browser
from tests.report.training_page import made_up_training

from effv2_tune.report.analysis import analyse
from effv2_tune.report.comparison.studies import compare
from effv2_tune.report.html.comparison import write_comparison
from effv2_tune.report.html.page import write_report
from effv2_tune.report.html.training import write_training_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial

# The package brings the script; its own driver is not used.
AXE = importlib.util.find_spec("axe_playwright_python")
NEEDS_AXE = pytest.mark.skipif(AXE is None, reason="needs axe-playwright-python (group 'test')")
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM, NEEDS_AXE]

VIEWS = pytest.mark.parametrize(
    ("width", "dark"), [(420, False), (420, True), (1400, False), (1400, True)]
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


def violations(browser: Browser) -> list[str]:
    """What axe-core objects to in the page: each rule with the elements that break it."""
    assert AXE is not None
    assert AXE.origin is not None
    browser.evaluate(Path(AXE.origin).with_name("axe.min.js").read_text() + "\n;0")
    found: list[dict[str, Any]] = browser.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.map((v) => ({"
        " rule: v.id, help: v.help, where: v.nodes.slice(0, 4).map((n) => [n.html.slice(0, 160),"
        " n.failureSummary]) })))"
    )
    return [f"{one['rule']}: {one['help']}: {one['where']}" for one in found]


@VIEWS
def test_the_report_has_no_violation(
    browser: Browser,
    study_maker: Callable[..., ReportInput],
    tmp_path: Path,
    width: int,
    *,
    dark: bool,
) -> None:
    page = write_report(study_maker(40, validation=5000), tmp_path / "report.html")
    browser.show(page, width=width, dark=dark)

    assert violations(browser) == []
    browser.evaluate("report.pin(report.data.front[0])")
    assert violations(browser) == []


@VIEWS
def test_the_comparison_has_no_violation(
    browser: Browser,
    study_maker: Callable[..., ReportInput],
    trial_maker: Callable[..., Trial],
    tmp_path: Path,
    width: int,
    *,
    dark: bool,
) -> None:
    trials = tuple(trial_maker(number, seed=2) for number in range(30))
    studies = [study_maker(30, name="a"), study_maker(trials=trials, name="b")]
    compared = compare([analyse(study) for study in studies])
    browser.show(write_comparison(compared, tmp_path / "both.html"), width=width, dark=dark)

    assert violations(browser) == []


@VIEWS
@pytest.mark.parametrize("classes", [5, 300])
def test_the_page_of_a_training_has_no_violation(
    browser: Browser, tmp_path: Path, classes: int, width: int, *, dark: bool
) -> None:
    page = write_training_page(made_up_training(classes, images=20), tmp_path / "training.html")
    browser.show(page, width=width, dark=dark)

    assert violations(browser) == []
