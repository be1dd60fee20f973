"""The report's sections, from findings to HTML; every text of the study is escaped."""

from __future__ import annotations

import html
import shlex
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import network_of, quality_of, seconds_of
from effv2_tune.report.figures.curves import curve_title
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.figures.palette import PALETTE_NAME, TIME_COLOURS
from effv2_tune.report.figures.static_svg import front_drawing
from effv2_tune.report.growth import front_growth
from effv2_tune.report.html.legend import legend_html
from effv2_tune.report.html.trial_list import trials_html
from effv2_tune.report.quantities import human_seconds, pluralized
from effv2_tune.report.spending import spared_seconds, spent_by_bucket, spent_seconds
from effv2_tune.report.table import WORDS, front_rows
from effv2_tune.report.text import (
    definitions,
    front_sentence,
    joined,
    search_sentence,
    state_sentence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.figures.curves import Curve
    from effv2_tune.report.growth import GrowthPoint
    from effv2_tune.study.trial import Trial

#: A front counts as settled from this share of its last hypervolume on.
SETTLED = 0.99


def body_html(findings: Analysis) -> str:
    """Everything that a reader sees, in reading order."""
    parts = [
        *(_front(findings, device, place) for place, device in enumerate(findings.devices)),
        _next_commands(findings),
        _curves(findings),
        *(_growth(findings, device, place) for place, device in enumerate(findings.devices)),
        _trials(findings),
        _time(findings),
        _definitions(findings),
        _setting(findings),
    ]
    return f"{_header(findings)}<main>{''.join(parts)}</main>{_footer(findings)}"


def curves_shown(findings: Analysis) -> list[Curve]:
    """The learning curves that the page offers; a loss that is the quality is not shown twice."""
    if findings.given.quality == "loss":
        return ["quality", "train_loss"]
    return ["quality", "validation_loss", "train_loss"]


def grew(points: Sequence[GrowthPoint]) -> bool:
    """Whether there is growth to draw: a curve needs two ends and something between."""
    return len(points) > 1 and points[-1].share > 0


def _header(findings: Analysis) -> str:
    given = findings.given
    ended = given.ended_by or ("" if not findings.states else "The search has not ended yet.")
    links = [("front-0", "Front")] if findings.devices else []
    links += [("next", "Next"), ("curves", "Learning curves")]
    links += [("trials", "All trials"), ("time", "Time spent"), ("meaning", "What is measured")]
    links.append(("setting", "Setting"))
    nav = "".join(f'<a href="#{target}">{text}</a>' for target, text in links)
    return (
        '<header><p class="kicker">EfficientNetV2 study: quality against training time</p>'
        f"<h1>{_text(given.name)}</h1><p>{_text(search_sentence(findings))} "
        f'{_text(state_sentence(findings))} <span class="quiet">{_text(_sentence(ended))}</span>'
        f'</p>{_cards(findings)}<nav aria-label="Sections">{nav}</nav></header>'
    )


def _cards(findings: Analysis) -> str:
    rows = (_device_cards(device, findings) for device in findings.devices if device.complete)
    return "".join(f'<ul class="cards">{cards}</ul>' for cards in rows)


def _device_cards(device: DeviceAnalysis, findings: Analysis) -> str:
    chosen = {"Best quality": device.best, "Knee": device.knee, "Fastest": device.fastest}
    names: dict[int, list[str]] = {}
    trials: dict[int, Trial] = {}
    for name, trial in chosen.items():
        if trial is not None:  # one trial may be several of these
            names.setdefault(trial.number, []).append(name if not names else name.lower())
            trials[trial.number] = trial
    where = f" on {device.device}" if len(findings.devices) > 1 else ""
    return "".join(
        f'<li><div class="name">{_text(joined(names[number])[:1].upper())}'
        f"{_text(joined(names[number])[1:] + where)}</div>"
        f'<div class="number">{quality_of(trial):.4f} <small>in '
        f"{human_seconds(seconds_of(trial))}</small></div>"
        f'<div class="quiet">trial {number}, {_text(network_of(trial))}</div></li>'
        for number, trial in trials.items()
    )


def _front(findings: Analysis, device: DeviceAnalysis, place: int) -> str:
    title = f"The Pareto front on {device.device}"
    if not device.complete and not device.pruned:
        return _section(
            f"front-{place}", title, "<p>No trial has been completed or compared here yet.</p>"
        )
    bounds = quality_bounds(device, findings.given.quality_direction)
    views = [(f"front-{place}", "All trials")]
    if bounds is not None:
        views.insert(0, (f"front-{place}-near", "Near the front"))
    caption = [
        front_sentence(findings, device),
    ]
    if device.front:
        caption.append(
            "The line is the front: for every time budget, the best quality that a trial reached."
        )
    if device.pruned:
        caption.append(
            f"Thin crosses are trials stopped early ({len(device.pruned)}), at the quality that "
            "they had then and the time they would have taken: they were not completed and are "
            "not measurements."
        )
    if bounds is not None:
        outside = _outside(device, bounds)
        caption.append(
            f"'Near the front' leaves out {pluralized(outside, 'trial')} that did worse."
        )
    alternative = front_sentence(findings, device)
    content = (
        f"{_plot(f'plot-front-{place}', views, alternative, 460)}"
        f"<noscript>{front_drawing(findings, device, width=1000, height=460)}</noscript>"
        f"{legend_html(device)}<figcaption>{_text(' '.join(caption))}</figcaption>"
    )
    return _section(
        f"front-{place}", title, f"<figure>{content}</figure>{_front_list(findings, device)}"
    )


def _outside(device: DeviceAnalysis, bounds: tuple[float, float]) -> int:
    low, high = bounds
    qualities = [quality_of(trial) for trial in device.complete]
    qualities += [trial.rungs[-1].quality for trial in device.pruned]
    return sum(not low <= quality <= high for quality in qualities)


def _front_list(findings: Analysis, device: DeviceAnalysis) -> str:
    rows = front_rows(findings, device)
    if not rows:
        return ""
    head = "".join(f'<th scope="col"{_aligned(name)}>{_text(name)}</th>' for name in rows[0])
    body = "".join(
        f"<tr{' class=strong' if row['remark'] else ''}>"
        + "".join(f"<td{_aligned(name)}>{_text(cell)}</td>" for name, cell in row.items())
        + "</tr>"
        for row in rows
    )
    return (
        f"<h3>On the front, fastest first</h3>{_scroll('Trials on the front')}"
        f'<table class="tight"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _aligned(header: str) -> str:
    return " class=word" if header in WORDS else ""


def _next_commands(findings: Analysis) -> str:
    folder = shlex.quote(findings.given.folder)
    if not findings.front:
        commands = f"effv2-tune status {folder}"
        words = "A point can be chosen as soon as one trial is complete. What is running now:"
    else:
        commands = (
            f"effv2-tune export {folder} --pick knee -o train.yaml"
            "   # or: most-accurate, fastest, trial=N\n"
            "effv2-tune train train.yaml"
        )
        words = (
            "Choose a point of the front and train it: the standard run touches the test images "
            "once, and leaves test accuracy, history and a saved model."
        )
    return _section("next", "Next", f"<p>{words}</p><pre><code>{_text(commands)}</code></pre>")


def _curves(findings: Analysis) -> str:
    trained = [trial for trial in findings.given.trials if trial.curve]
    if not trained:
        return _section("curves", "Learning curves", "<p>No trial has ended an epoch yet.</p>")
    quality = findings.given.quality
    titles = [(curve, curve_title(curve, quality)) for curve in curves_shown(findings)]
    views = [(f"curves-{curve}", title[:1].upper() + title[1:]) for curve, title in titles]
    alternative = (
        f"Learning curves of {pluralized(len(trained), 'trial')}, one line each, over the epochs; "
        f"those of the front are in colour and carry their numbers."
    )
    caption = (
        "In colour, by variant, with its number at the end: the trials on the front. In grey: all "
        "others; dotted where a trial was not completed."
    )
    plot = _plot("plot-curves", views, alternative, 460)
    return _section(
        "curves",
        "Learning curves",
        f"<figure>{plot}<figcaption>{_text(caption)}</figcaption></figure>",
    )


def _growth(findings: Analysis, device: DeviceAnalysis, place: int) -> str:
    points = front_growth(device, findings.given.quality_direction)
    if not grew(points):
        return ""
    views = [(f"growth-{place}-trials", "Over trials"), (f"growth-{place}-time", "Over time")]
    settled = next(point for point in points if point.share >= SETTLED)
    said = (
        "The hypervolume is the area of the plane of quality and logarithmic time that the front "
        "dominates; when it stops growing, more trials find little. It came within 1 % of its "
        f"last value after {pluralized(settled.ended, 'trial')} ({human_seconds(settled.seconds)})."
    )
    plot = _plot(f"plot-growth-{place}", views, said, 340)
    where = f" on {device.device}" if len(findings.devices) > 1 else ""
    return _section(
        f"growth-{place}",
        f"How the front grew{where}",
        f"<figure>{plot}<figcaption>{_text(said)}</figcaption></figure>",
    )


def _trials(findings: Analysis) -> str:
    if not findings.given.trials:
        return _section("trials", "All trials", "<p>There are none yet.</p>")
    return _section("trials", "All trials", trials_html(findings))


def _time(findings: Analysis) -> str:
    trials = findings.given.trials
    spent = {part: seconds for part, seconds in spent_seconds(trials).items() if seconds > 0}
    total = sum(spent.values())
    title = "Where the time went"
    if total <= 0:
        return _section("time", title, "<p>No time has been recorded yet.</p>")
    saved = spared_seconds(trials)
    words = f"The workers spent {human_seconds(total)} in all."
    if saved > 0:
        words += (
            f" Stopping trials early saved about {human_seconds(saved)} of training, by their "
            "projected times."
        )
    words = " ".join([words, *findings.straying.sentences()])
    items = "".join(
        f'<span><svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" rx="2" '
        f'fill="{TIME_COLOURS[part]}"/></svg>{part} {human_seconds(seconds)} '
        f"({seconds / total:.1%})</span>"
        for part, seconds in spent.items()
    )
    bars = len(spent_by_bucket(trials))
    alternative = "Wall time by bucket and kind of work; the totals are listed below the figure."
    return _section(
        "time",
        title,
        f"<p>{_text(words)}</p><figure>"
        f"{_plot('plot-time', [('time', 'By bucket')], alternative, 110 + 34 * max(bars, 1))}"
        f'<div class="legend">{items}</div><figcaption>A bucket is everything that forces a new '
        "compilation; trials of one bucket compile once.</figcaption></figure>",
    )


def _definitions(findings: Analysis) -> str:
    content = "".join(
        f"<h3>{name}</h3><p>{_text(text)}</p>" for name, text in definitions(findings.given)
    )
    return _section("meaning", "What is measured", content)


def _setting(findings: Analysis) -> str:
    facts = _pairs(findings.given.facts)
    seen: dict[str, int] = {}
    texts: dict[str, dict[str, str]] = {}
    for trial in findings.given.trials:
        if trial.environment is None:
            continue
        where = trial.environment
        key = where.model_dump_json()
        seen[key] = seen.get(key, 0) + 1
        texts[key] = {
            "device": f"{where.device_kind} ({pluralized(where.device_count, 'device')} used)",
            "backend": f"{where.backend}, {where.precision}",
            "host": f"{where.host}, {pluralized(where.threads, 'CPU thread')}",
            "versions": ", ".join(f"{name} {text}" for name, text in where.versions.items()),
        }
    machines = "".join(
        f"<h3>{pluralized(seen[key], 'trial')} ran on</h3>{_pairs(pairs)}"
        for key, pairs in texts.items()
    )
    return _section("setting", "Setting", f"<h3>The plan</h3>{facts}{machines}")


def _footer(findings: Analysis) -> str:
    written = f"Written {_text(findings.given.written)}. " if findings.given.written else ""
    return (
        f"<footer><p>{written}Colours: {PALETTE_NAME}, told apart by colour-blind eyes. This file "
        "needs no network and sends nothing.</p></footer>"
    )


def _plot(name: str, views: Sequence[tuple[str, str]], alternative: str, height: int) -> str:
    buttons = "".join(
        f'<button type="button" data-show="{figure}" aria-controls="{name}" '
        f'aria-pressed="{str(place == 0).lower()}">{_text(text)}</button>'
        for place, (figure, text) in enumerate(views)
    )
    bar = f'<div class="bar js">{buttons}</div>' if len(views) > 1 else ""
    return (
        f'{bar}<div class="plot js" id="{name}" data-figure="{views[0][0]}" role="img" '
        f'aria-label="{_text(alternative)}" style="min-height:{height}px"></div>'
    )


def _pairs(pairs: dict[str, str]) -> str:
    entries = "".join(
        f"<dt>{_text(key)}</dt><dd>{_text(words)}</dd>" for key, words in pairs.items()
    )
    return f"<dl>{entries}</dl>"


def _scroll(label: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(label)}">'


def _section(name: str, title: str, content: str) -> str:
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{_text(title)}</h2>{content}</section>'
    )


def _sentence(text: str) -> str:
    if not text:
        return ""
    ended = text if text.endswith((".", "!", "?")) else f"{text}."
    return ended[:1].upper() + ended[1:]


def _text(text: str) -> str:
    return html.escape(text)
