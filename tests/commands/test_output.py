"""What all commands have in common: JSON is JSON, and reading loads no framework."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

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
