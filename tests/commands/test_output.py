"""What all commands have in common: JSON is JSON, and reading loads no framework."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import pytest
from PIL import Image
from rich.table import Table

from effv2_tune.commands.escaping import escaped_output
from effv2_tune.report.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "runs/small", "--json"),
        ("trials", "runs/small", "--format", "json"),
        ("check", "study.yaml", "--json"),
        ("plan", "study.yaml", "--json"),
        ("status", "runs/small", "--json", "--watch"),
    ],
    ids=" ".join,
)
def test_json_is_json(tune: Tune, study: Path, arguments: tuple[str, ...]) -> None:
    assert study.is_dir()
    done = tune(*arguments)

    assert done.code == 0
    assert json.loads(done.out)
    assert done.err == ""


@pytest.mark.parametrize("command", ["status", "run --dry-run", "doctor", "export -o new.yaml"])
def test_what_only_reads_loads_no_framework(
    study: Path, run_python: Callable[..., str], command: str
) -> None:
    name, *options = command.split()
    target = {"run": ["study.yaml"], "doctor": []}.get(name, [str(study)])
    code = (
        "import sys, json\n"
        "from effv2_tune.cli import run\n"
        f"assert run({[name, *target, *options]!r}) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    loaded = set(json.loads(run_python(code).splitlines()[-1]))

    # A dry run reads the digits: scikit-learn loads pandas wherever it is installed.
    assert {"tensorflow", "keras", "jax", "optuna", "plotly"} & loaded == set()
    assert command == "run --dry-run" or "pandas" not in loaded


def test_control_characters_in_the_names_of_classes_and_files_are_escaped(
    tune: Tune, folder: Path
) -> None:
    for name, count in (("cat\x1b]0;", 10), ("dog\x9b31m", 20)):
        (folder / "photos" / name).mkdir(parents=True)
        for grey in range(count):
            Image.new("L", (8, 8), grey).save(folder / "photos" / name / f"{grey}.png")
    (folder / "photos.yaml").write_text(
        "name: photos\ndata: {name: folder, path: photos, test: 0.2, validation: 0.2}\n"
        "recipe: {batch_size: 4}\n"
        "search_space: {epochs: {type: int, low: 1, high: 2}}\ntrials: 1\n"
    )

    planned = tune("plan", "photos.yaml")
    tried = tune("run", "photos.yaml", "--out", "out\x1b]0;", "--dry-run")

    assert (planned.code, tried.code) == (0, 0), planned.err + tried.err
    assert not {"\x1b", "\x9b"} & set(planned.out + tried.out)
    assert "(cat\\x1b]0;)" in planned.out
    assert "(dog\\x9b31m)" in planned.out
    assert "out\\x1b]0;" in tried.out


def test_a_terminal_gets_the_colours_of_tables_and_none_of_their_texts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    table = Table(title="front", title_style="red")
    table.add_column("class")
    table.add_row("cat\x1b[2J")

    with escaped_output():
        click.echo("dog\x1b[2J", color=True)
        console = Console(force_terminal=True, color_system="standard", highlight=False)
        console.print("bird\x1b[2J", table)

    out = capfd.readouterr().out
    assert "\x1b[31m" in out
    assert "\x1b[2J" not in out
    assert {"dog\\x1b[2J", "bird\\x1b[2J", "cat\\x1b[2J"} <= set(out.replace("│", " ").split())
