"""The static front as an SVG element."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.palette import INK
from effv2_tune.report.html.drawing import front_svg

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput

XLINK = "http://www.w3.org/1999/xlink"


def svg_of(study: ReportInput, name: str = "drawing-0") -> str:
    analysis = analyse(study)
    return front_svg(analysis, analysis.devices[0], name=name)


def parsed(svg: str) -> ET.Element:
    text = svg.replace("<svg ", f'<svg xmlns:xlink="{XLINK}" ', 1)
    return ET.fromstring(text)  # noqa: S314 (our own drawing)


def test_it_is_one_element_of_valid_xml_without_style_sheet_or_script(
    study_maker: Callable[..., ReportInput],
) -> None:
    root = parsed(svg_of(study_maker(60)))

    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert root.tag.endswith("svg")
    assert not tags & {"style", "script", "metadata", "image", "foreignObject"}
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "Validation accuracy against training time on NVIDIA H200: 31 complete trials, "
        "8 on the Pareto front"
    )


def test_every_complete_trial_has_a_tooltip(study_maker: Callable[..., ReportInput]) -> None:
    titles = re.findall(r"<g><title>(trial \d+, [^<]*)</title>", svg_of(study_maker(60)))

    assert len(titles) == 31
    assert "trial 25, b3 at 128 px: accuracy 0.9764 in 29 min 01 s" in titles


def test_lines_and_text_have_the_colour_of_their_surroundings(
    study_maker: Callable[..., ReportInput],
) -> None:
    svg = svg_of(study_maker(60))

    assert INK not in svg
    assert "currentColor" in svg
    assert "#ffffff" not in svg
    assert "font-family" not in svg


def test_ids_are_unique_prefixed_and_all_references_have_their_target(
    study_maker: Callable[..., ReportInput],
) -> None:
    svg = svg_of(study_maker(60), "here")

    ids = re.findall(r'\bid="([^"]*)"', svg)
    references = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("here-") for name in ids)
    assert {one or other for one, other in references} <= set(ids)


def test_the_same_study_gives_the_same_text(study_maker: Callable[..., ReportInput]) -> None:
    assert svg_of(study_maker(60)) == svg_of(study_maker(60))


def test_without_a_complete_trial_there_is_no_drawing(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., object]
) -> None:
    assert svg_of(study_maker(trials=(trial_maker(0, state="pruned"),))) == ""
