"""The front as PNG, SVG and PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
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


def test_a_picture_needs_no_browser(
    study_maker: Callable[..., ReportInput], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert write_picture(study_maker(5), tmp_path / "front.png").is_file()


def test_without_a_complete_trial_there_is_no_picture(
    study_maker: Callable[..., ReportInput],
) -> None:
    with pytest.raises(TuneError, match="no complete trial"):
        picture_figure(study_maker(trials=()))


def test_a_picture_names_colours_symbols_and_front(study_maker: Callable[..., ReportInput]) -> None:
    figure = picture_figure(study_maker(60))

    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:5] == ["Pareto front", "b0", "b1", "b2", "b3"]
    assert "64 px" in shown
    assert figure.axes[0].get_title("left") == "made-up-cifar10: the Pareto front on NVIDIA H200"


def test_pictures_are_drawn_in_all_formats(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    beginnings = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}

    for suffix, beginning in beginnings.items():
        path = write_picture(study_maker(20), tmp_path / f"front.{suffix}")

        assert path.read_bytes().startswith(beginning)
        assert b"<svg" in path.read_bytes() or suffix != "svg"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_study_gives_the_same_bytes(
    study_maker: Callable[..., ReportInput], tmp_path: Path, suffix: str
) -> None:
    one = write_picture(study_maker(20), tmp_path / f"one.{suffix}")
    other = write_picture(study_maker(20), tmp_path / f"other.{suffix}")

    assert one.read_bytes() == other.read_bytes()


def test_a_png_has_two_pixels_for_each_unit(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    path = write_picture(study_maker(5), tmp_path / "front.png", width=400, height=300)

    header = path.read_bytes()[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (800, 600)


def test_a_picture_that_cannot_be_written_names_its_path(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder", encoding="utf-8")

    with pytest.raises(TuneError, match="cannot be written to"):
        write_picture(study_maker(3), tmp_path / "taken" / "front.png")


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_earlier_picture(
    study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    path = tmp_path / "front.svg"
    path.write_text("earlier", encoding="utf-8")

    with pytest.raises(TuneError, match="No space left on device"):
        write_picture(study_maker(3), path)

    assert path.read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [path]
