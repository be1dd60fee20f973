"""The front as PNG, SVG and PDF."""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.host import install_command
from effv2_tune.report.figures.picture import picture_figure, write_picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.report.input import ReportInput


def test_a_picture_needs_a_known_suffix(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    with pytest.raises(TuneError, match="no suffix") as error:
        write_picture(study_maker(3), tmp_path / "front.bmp")

    assert error.value.hint == "Choose one of .png, .svg, .pdf."


def test_without_kaleido_the_extra_is_named(
    study_maker: Callable[..., ReportInput], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TuneError, match="kaleido") as error:
        write_picture(study_maker(3), tmp_path / "front.png")

    assert install_command("images") in str(error.value.hint)


def test_without_a_complete_trial_there_is_no_picture(
    study_maker: Callable[..., ReportInput],
) -> None:
    with pytest.raises(TuneError, match="no complete trial"):
        picture_figure(study_maker(trials=()))


def test_a_picture_names_colours_symbols_and_front(study_maker: Callable[..., ReportInput]) -> None:
    figure = picture_figure(study_maker(60))

    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert shown[:5] == ["Pareto front", "b0", "b1", "b2", "b3"]
    assert "64 px" in shown


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("kaleido") is None or shutil.which("chromium") is None,
    reason="needs kaleido (pip install -e '.[images]') and Chromium",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_are_drawn_in_all_formats(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    beginnings = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}

    for suffix, beginning in beginnings.items():
        path = write_picture(study_maker(20), tmp_path / f"front.{suffix}")

        assert path.read_bytes().startswith(beginning)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("kaleido") is None,
    reason="needs kaleido (pip install -e '.[images]')",
)
def test_without_a_browser_the_way_out_is_named(
    study_maker: Callable[..., ReportInput], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))

    with pytest.raises(TuneError, match="was not drawn") as error:
        write_picture(study_maker(3), tmp_path / "front.png")

    assert "BROWSER_PATH" in str(error.value.hint)
