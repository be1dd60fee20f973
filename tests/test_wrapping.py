"""Messages are wrapped at words, and what is copied from them stays usable."""

from __future__ import annotations

import io
import shlex

from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.report.console import Console
from effv2_tune.session.progress import TrainingProgress
from effv2_tune.wrapping import terminal_width, wrapped

WIDTHS = st.integers(20, 120)
WORDS = st.lists(st.text("abcdeé-/.", min_size=1, max_size=30), min_size=1, max_size=40)
FOLDERS = st.text("ab' ", min_size=1, max_size=30)


@given(WORDS, WIDTHS)
def test_no_word_is_broken_and_no_line_of_several_is_too_long(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width).split("\n")

    assert " ".join(lines).split() == words
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)


@given(st.text(), WIDTHS)
def test_wrapping_adds_no_character_but_space(text: str, width: int) -> None:
    assert "".join(wrapped(text, width).split()) == "".join(text.split())


@given(st.text())
def test_a_pipe_gets_lines_as_they_are(text: str) -> None:
    assert terminal_width(io.StringIO()) is None
    assert wrapped(text, None) == text


@given(st.lists(FOLDERS, min_size=1, max_size=8), WIDTHS)
def test_a_copied_command_has_the_arguments_of_the_whole_one(
    folders: list[str], width: int
) -> None:
    command = shlex.join(["effv2-tune", "run", *folders])
    copied = wrapped(f"To continue: {command}", width).split("To continue:")[1]

    # As a shell does; shlex leaves this pair of characters to it.
    assert shlex.split(copied.replace("\\\n", "")) == ["effv2-tune", "run", *folders]


def test_a_command_moves_to_a_line_of_its_own_and_continues_behind_a_backslash() -> None:
    message = "Not done. To continue: effv2-tune run study.yaml --out '/data/my runs' --workers 3"

    assert wrapped(message, 70).split("\n") == [
        "Not done. To continue:",
        "  effv2-tune run study.yaml --out '/data/my runs' --workers 3",
    ]
    assert wrapped(message, 50).split("\n") == [
        "Not done. To continue:",
        "  effv2-tune run study.yaml --out \\",
        "    '/data/my runs' --workers 3",
    ]


def test_a_quoted_command_is_not_broken() -> None:
    assert wrapped("The command 'effv2-tune doctor' shows the hardware.", 25).split("\n") == [
        "The command",
        "  'effv2-tune doctor'",
        "  shows the hardware.",
    ]


def test_a_path_stays_whole_with_its_spaces() -> None:
    assert wrapped("Report: /data/my runs/report.html", 20).split("\n") == [
        "Report:",
        "  /data/my runs/report.html",
    ]


def test_columns_are_kept_whole_and_labels_are_kept_apart() -> None:
    assert wrapped("  b0@32  2.4 s  1.5 GB", 16).split("\n") == ["  b0@32  2.4 s", "    1.5 GB"]
    assert wrapped("cpu   an old one of four", 16).split("\n") == [
        "cpu   an old one",
        "      of four",
    ]


def test_a_console_wraps_on_a_terminal_alone() -> None:
    note = "a checkpoint was found and the training continues from epoch 3"
    shown = []
    for is_terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, width=40, force_terminal=is_terminal, highlight=False)
        TrainingProgress(4, "accuracy", console).note(f"[b] {note}")
        shown.append(stream.getvalue())

    assert shown == [
        "[b] a checkpoint was found and the\n  training continues from epoch 3\n",
        f"[b] {note}\n",
    ]
