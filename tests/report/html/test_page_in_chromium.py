"""The page in a real browser, driven through Chromium's own protocol over a pipe."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.chromium import NEEDS_CHROMIUM, Browser

from effv2_tune.report.analysis import analyse
from effv2_tune.report.comparison.studies import compare
from effv2_tune.report.html.comparison import write_comparison
from effv2_tune.report.html.page import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

SELECTED = "[...document.querySelectorAll('#trials-table tbody tr')].filter(r => !r.hidden).length"
DRAWN = "report.isDrawn()"
PINNED = "document.getElementById('pinned')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(tmp_path: Path, study_maker: Callable[..., ReportInput]) -> Path:
    return write_report(study_maker(40), tmp_path / "report.html")


def test_the_page_is_drawn_without_a_complaint_or_a_request(browser: Browser, page: Path) -> None:
    browser.requests.clear()
    browser.complaints.clear()

    browser.show(page)

    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    points = browser.evaluate("document.querySelectorAll('#plot-front-0 .point').length")
    assert points >= 20


def test_views_of_a_figure_are_exchanged_by_their_buttons(browser: Browser, page: Path) -> None:
    browser.show(page)
    title = "document.querySelector('#plot-curves .ytitle').textContent"

    before = browser.evaluate(title)
    browser.evaluate("document.querySelector('[data-show=curves-validation_loss]').click()")
    browser.until(DRAWN)

    assert (before, browser.evaluate(title)) == ("validation accuracy", "validation loss")
    pressed = (
        "[...document.querySelectorAll('#curves [aria-pressed=true]')].map(b => b.textContent)"
    )
    assert browser.evaluate(pressed) == ["Validation loss"]


def test_a_column_is_sorted_up_and_down_with_empty_cells_last(browser: Browser, page: Path) -> None:
    browser.show(page)
    heads = "[...document.querySelectorAll('#trials-table th')]"
    column = browser.evaluate(f"{heads}.findIndex(h => h.textContent.startsWith('training time'))")
    button = f"document.querySelectorAll('#trials-table th button')[{column}].click()"
    rows = "[...document.querySelectorAll('#trials-table tbody tr')]"
    values = f"{rows}.map(r => r.cells[{column}].dataset.value)"

    browser.evaluate(button)
    rising = browser.evaluate(values)
    browser.evaluate(button)
    falling = browser.evaluate(values)

    numbers = [float(text) for text in rising if text]
    assert numbers == sorted(numbers)
    assert rising[len(numbers) :] == [""] * (len(rising) - len(numbers))
    assert [float(text) for text in falling if text] == sorted(numbers, reverse=True)
    assert falling[-1] == rising[-1] == ""
    assert browser.evaluate(f"{heads}[{column}].getAttribute('aria-sort')") == "descending"


def test_rows_are_filtered_by_words_state_and_front(browser: Browser, page: Path) -> None:
    browser.show(page)
    shown = "[...document.querySelectorAll('#trials-table tbody tr')].filter(r => !r.hidden).length"
    change = "document.getElementById('{0}').{1} = {2};"
    tell = "document.getElementById('{0}').dispatchEvent(new Event('input'))"

    assert browser.evaluate(shown) == 40
    browser.evaluate(change.format("filter-front", "checked", "true") + tell.format("filter-front"))
    on_front = browser.evaluate("document.querySelectorAll('#trials-table tr.front').length")
    assert browser.evaluate(shown) == on_front
    browser.evaluate(
        change.format("filter-words", "value", "'no such words'") + tell.format("filter-words")
    )
    assert browser.evaluate(shown) == 0
    assert browser.evaluate("document.getElementById('filter-shown').textContent").startswith(
        "0 of"
    )


@pytest.mark.parametrize("width", [320, 420, 768, 1280, 1400])
def test_no_width_makes_the_page_scroll_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.show(page, width=width)

    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode_darkens_page_and_figures(browser: Browser, page: Path) -> None:
    paper = "getComputedStyle(document.querySelector('#plot-front-0 .main-svg')).backgroundColor"

    browser.show(page)
    light = browser.evaluate(paper)
    browser.show(page, dark=True)

    assert (light, browser.evaluate(paper)) == ("rgb(255, 255, 255)", "rgb(21, 27, 35)")


def test_a_print_holds_the_figures(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.show(page)

    browser.print(tmp_path / "report.pdf")
    browser.use_medium("print")
    hidden = browser.evaluate(
        "[...document.querySelectorAll('.plot')].filter(p => p.offsetHeight < 100).length"
    )
    browser.use_medium("screen")

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert hidden == 0


def centre_of(browser: Browser, element: str) -> tuple[float, float]:
    """The middle of an element, once it is in the window."""
    browser.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = browser.evaluate(
        f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())"
    )
    return box[0], box[1]


def test_the_text_over_a_point_has_config_and_times_and_no_markup_of_the_study(
    browser: Browser,
    study_maker: Callable[..., ReportInput],
    trial_maker: Callable[..., Trial],
    tmp_path: Path,
) -> None:
    trial = trial_maker(5, state="complete")
    trial = trial.model_copy(update={"config": trial.config | {"note": "<b>& more"}})
    browser.show(write_report(study_maker(trials=(trial,)), tmp_path / "report.html"))

    text = browser.evaluate(
        "document.getElementById('plot-front-0').data.find((t) => t.meta === 'points').text[0]"
    )

    for words in ("<b>Trial 5", "note: &lt;b&gt;&amp; more", "weight decay", "compilation", "wall"):
        assert words in text


def test_a_click_on_a_point_pins_its_trial_everywhere(browser: Browser, page: Path) -> None:
    browser.show(page)
    browser.evaluate(
        "document.getElementById('plot-front-0').scrollIntoView({behavior: 'instant'})"
    )
    number = browser.evaluate("report.data.front[0]")
    # The point of the trial, in the window.
    x, y = browser.evaluate(f"""(() => {{
      const plot = document.getElementById("plot-front-0");
      const trace = plot.data.find((t) => t.meta === "points" && t.customdata.includes({number}));
      const at = trace.customdata.indexOf({number});
      const {{ xaxis, yaxis }} = plot._fullLayout;
      const box = plot.getBoundingClientRect();
      const [x, y] = [xaxis.d2p(trace.x[at]), yaxis.d2p(trace.y[at])];
      return [box.x + xaxis._offset + x, box.y + yaxis._offset + y];
    }})()""")
    browser.click((x, y))

    assert browser.until(f"{PINNED}.hidden === false && {DRAWN}")
    text = browser.evaluate(f"{PINNED}.innerText")
    assert f"Trial {number}:" in text
    for words in ("weight decay", "validation accuracy", "wall", "learning rate"):
        assert words in text
    command = f"effv2-tune export runs/made-up-cifar10 --pick trial={number} -o train.yaml"
    assert command in text
    marked = f"document.querySelector('#trials-table tr.is-pinned').dataset.trial === '{number}'"
    assert browser.evaluate(marked)
    assert browser.evaluate("document.querySelectorAll('.line.is-pinned').length") == 1
    for plot in ("front-0", "curves", "growth-0", "timeline", "contour"):
        accent = f"document.getElementById('plot-{plot}').data.at(-1)"
        colour = browser.evaluate(f"{accent}.marker.color ?? {accent}.line.color")
        assert colour == "#0064a0", plot


def test_the_keyboard_pins_a_trial_and_closes_it(browser: Browser, page: Path) -> None:
    browser.show(page)
    browser.evaluate("document.getElementById('plot-front-0').focus()")

    browser.press("ArrowRight", "ArrowRight", "Enter")
    first = browser.evaluate("report.pinned")
    said = browser.evaluate("document.getElementById('announcement').textContent")
    browser.press("Escape")
    closed = browser.evaluate(f"{PINNED}.hidden")
    browser.evaluate("document.querySelector('#trials-table .pin').focus()")
    browser.press("Enter")

    assert isinstance(first, int)
    assert said.startswith(f"Pinned: Trial {first}:")
    assert closed
    assert browser.evaluate("report.pinned === report.data.front[0] || report.pinned >= 0")
    assert browser.evaluate("document.activeElement.id") == "pinned-title"
    browser.press("Escape")
    assert browser.evaluate("document.activeElement.className") == "pin"


def test_a_range_on_an_axis_selects_trials_in_every_figure(browser: Browser, page: Path) -> None:
    browser.show(page)
    x, y = centre_of(browser, "document.querySelectorAll('.parallel .area')[0]")

    browser.drag((x, y - 120), (x, y + 5))
    browser.until(DRAWN)
    selected = browser.evaluate(SELECTED)
    faint = """document.getElementById("plot-front-0").data.filter((t) => t.meta === "points")
      .flatMap((t) => t.marker.opacity).filter((o) => o < 0.1).length"""
    lines = browser.evaluate("document.querySelectorAll('.parallel .line:not(.unselected)').length")
    dimmed = browser.evaluate(faint)
    browser.evaluate("document.querySelector('[data-clear]').click()")
    browser.until(DRAWN)

    assert 0 < selected < 40
    assert lines == selected
    assert dimmed > 0
    assert (browser.evaluate(SELECTED), browser.evaluate(faint)) == (40, 0)


def test_a_range_is_moved_with_the_keyboard(browser: Browser, page: Path) -> None:
    browser.show(page)
    handle = "document.querySelector('.handle[aria-label=\"weight decay: upper end\"]')"
    browser.evaluate(f"{handle}.focus()")

    browser.press(*["PageDown"] * 6)

    assert browser.evaluate(f"{handle}.getAttribute('aria-valuenow')") == "40"
    assert "e-" in browser.evaluate(f"{handle}.getAttribute('aria-valuetext')")
    assert 0 < browser.evaluate(SELECTED) < 40
    browser.evaluate("document.querySelector('[data-clear]').click()")


def test_ranges_of_numbers_filter_in_the_unit_of_the_header(browser: Browser, page: Path) -> None:
    browser.show(page)
    field = "document.querySelector('[data-range=train_seconds-most]')"
    minutes = "[...document.querySelectorAll('#trials-table tbody tr')].filter(r => !r.hidden)"
    minutes += ".map(r => Number(r.querySelector('td:nth-child(4)').dataset.value) / 60)"

    browser.evaluate(f"{field}.value = '5'; {field}.dispatchEvent(new Event('input'))")

    shown = browser.evaluate(minutes)
    assert shown
    assert max(shown) <= 5
    browser.evaluate(f"{field}.value = ''; {field}.dispatchEvent(new Event('input'))")
    assert browser.evaluate(SELECTED) == 40


def test_columns_are_chosen_and_the_csv_has_what_is_shown(browser: Browser, page: Path) -> None:
    browser.show(page)
    box = "document.querySelectorAll('#filter-columns input')[0]"
    before = list(csv.DictReader(io.StringIO(browser.evaluate("report.csv()"))))

    browser.evaluate(f"{box}.checked = false; {box}.dispatchEvent(new Event('input'))")
    browser.evaluate(
        "document.getElementById('filter-front').checked = true;"
        "document.getElementById('filter-front').dispatchEvent(new Event('input'))"
    )
    after = list(csv.DictReader(io.StringIO(browser.evaluate("report.csv()"))))

    assert len(before) == 40
    assert len(after) == browser.evaluate("report.data.front.length")
    assert set(before[0]) - set(after[0]) == {"state"}
    assert (
        browser.evaluate(
            "getComputedStyle(document.querySelectorAll('#trials-table th')[1]).display"
        )
        == "none"
    )
    assert 0 < float(after[0]["quality"]) < 1


def test_a_command_is_copied(browser: Browser, page: Path) -> None:
    browser.show(page)
    browser.evaluate(
        "window.copied = null; document.execCommand = (what) => {"
        " window.copied = [what, document.activeElement.value]; return true; };"
        "Object.defineProperty(navigator, 'clipboard', {value: undefined});"
        "document.querySelector('#next [data-copy]').click()"
    )

    what, text = browser.until("window.copied")
    assert what == "copy"
    assert text.startswith("effv2-tune export runs/made-up-cifar10 --pick knee -o train.yaml")
    assert browser.until("document.querySelector('#next [data-copy]').textContent === 'Copied'")


def test_each_hyperparameter_shares_the_selection_and_pins(browser: Browser, page: Path) -> None:
    browser.show(page)
    figures = browser.evaluate("document.querySelectorAll('.slice').length")
    slice_ = "document.querySelector('.slice[aria-label^=\"weight decay\"]')"
    browser.evaluate(f"{slice_}.focus()")

    browser.press("ArrowRight", "ArrowRight", "Enter")
    pinned = browser.evaluate("report.pinned")
    rings = browser.evaluate("document.querySelectorAll('.slice .ring:not(.at)').length")
    browser.press("Escape")
    browser.evaluate(
        "document.getElementById('filter-front').checked = true;"
        "document.getElementById('filter-front').dispatchEvent(new Event('input'))"
    )
    selected = browser.evaluate(
        f"{slice_}.querySelectorAll('.mark-complete:not(.unselected)').length"
    )
    faint = browser.evaluate(f"{slice_}.querySelectorAll('.unselected').length")

    assert figures == 6
    assert isinstance(pinned, int)
    assert rings == 2 * figures
    assert (selected, faint > 0) == (0, True)


def test_a_click_near_a_point_of_a_hyperparameter_pins_its_trial(
    browser: Browser, page: Path
) -> None:
    browser.show(page)
    front = "document.querySelector('.slice .mark-front')"
    browser.evaluate(f"{front}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    # The outline of the first mark begins above its middle.
    x, y = browser.evaluate(f"""(() => {{
      const [, x, y] = {front}.getAttribute("d").match(/^M([0-9.]+) ([0-9.]+)/).map(Number);
      const box = {front}.ownerSVGElement.getBoundingClientRect();
      return [box.x + x, box.y + y + 5];
    }})()""")

    browser.click((x, y))

    assert browser.evaluate("report.data.front.includes(report.pinned)")


def test_another_pair_of_hyperparameters_is_chosen_from_the_list(
    browser: Browser, page: Path
) -> None:
    browser.show(page)
    title = "document.querySelector('#plot-contour .xtitle').textContent"
    pair = "document.querySelector('#contour select')"
    before = browser.evaluate(title)

    for place in range(browser.evaluate(f"{pair}.options.length")):
        browser.evaluate(
            f"{pair}.selectedIndex = {place}; {pair}.dispatchEvent(new Event('input'))"
        )
        text = browser.evaluate(f"{pair}.selectedOptions[0].textContent")
        assert f": {browser.evaluate(title)} and " in text

    assert browser.evaluate(title) != before


def test_the_timeline_shows_the_selected_trials_and_pins_by_keyboard(
    browser: Browser, page: Path
) -> None:
    browser.show(page)
    count = (
        "document.getElementById('plot-timeline').data.filter((t) => t.meta === 'spans')"
        ".map((t) => t.x.filter((x) => x !== null).length).reduce((a, b) => a + b)"
    )
    every = browser.evaluate(count)
    browser.evaluate("document.getElementById('plot-timeline').focus()")
    browser.press("ArrowRight", "Enter")
    first = browser.evaluate("report.pinned")
    browser.press("Escape")
    browser.evaluate(
        "document.getElementById('filter-front').checked = true;"
        "document.getElementById('filter-front').dispatchEvent(new Event('input'))"
    )
    browser.until(DRAWN)

    assert isinstance(first, int)
    assert 0 < browser.evaluate(count) < every


def test_every_control_is_reached_with_the_tabulator(browser: Browser, page: Path) -> None:
    browser.show(page)
    controls = (
        "[...document.querySelectorAll("
        "'a[href], button, input, select, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility() && !e.closest('.modebar'))"
    )
    browser.evaluate(
        "window.reached = new Set(); document.addEventListener('focusin',"
        " (e) => reached.add(e.target)); document.body.focus()"
    )
    # The buttons of Plotly's bars are on the way.
    every = browser.evaluate(
        "[...document.querySelectorAll('*')].filter((e) => e.tabIndex >= 0).length"
    )
    for _ in range(every + 20):
        browser.press("Tab")

    missed = browser.evaluate(
        f"{controls}.filter((e) => !reached.has(e)).map((e) => e.outerHTML.slice(0, 120))"
    )
    assert missed == []


def test_two_studies_are_compared_without_a_complaint_or_a_request(
    browser: Browser,
    study_maker: Callable[..., ReportInput],
    trial_maker: Callable[..., Trial],
    tmp_path: Path,
) -> None:
    trials = tuple(trial_maker(number, seed=2) for number in range(30))
    studies = [study_maker(30, name="a"), study_maker(trials=trials, name="b")]
    compared = compare([analyse(study) for study in studies])
    path = write_comparison(compared, tmp_path / "both.html")
    browser.requests.clear()
    browser.complaints.clear()

    browser.show(path, width=420)

    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 420
    browser.evaluate("document.querySelector('[data-show=growth-0-time]').click()")
    assert "time since" in browser.evaluate(
        "document.querySelector('#plot-growth-0 .xtitle').textContent"
    )


def processor_seconds(browser: Browser) -> float:
    """What all processes of the browser have used."""
    processes = psutil.Process(browser.process.pid).children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def test_a_thousand_trials_are_drawn_soon(
    browser: Browser, study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    path = write_report(study_maker(1000, validation=5000), tmp_path / "many.html")
    browser.complaints.clear()

    before = processor_seconds(browser)
    browser.show(path)
    spent = processor_seconds(browser) - before

    assert path.stat().st_size < 10_000_000
    assert browser.evaluate("document.querySelectorAll('#trials-table tbody tr').length") == 1000
    assert browser.complaints == []
    # Half of it was measured; the time on the clock depends on what else the machine does.
    assert spent < 6
