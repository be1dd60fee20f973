"""The command line: fast to start, plain to read, exact in its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from effv2_tune import cli
from effv2_tune.errors import EXIT_WRONG_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMEWORKS = ("tensorflow", "keras", "jax", "optuna", "plotly", "pandas", "sklearn")


def effv2_tune(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "effv2_tune", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


def loaded_by(run_python: Callable[..., str], code: str) -> set[str]:
    """Which of the heavy packages a piece of code loads in a fresh interpreter."""
    listing = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(run_python(f"{code}\n{listing}").splitlines()[-1])
    return set(FRAMEWORKS) & set(modules)


def test_help_loads_no_heavy_package(run_python: Callable[..., str]) -> None:
    code = "from effv2_tune.cli import run; assert run(['--help']) == 0"

    assert loaded_by(run_python, code) == set()


def test_importing_the_package_loads_no_heavy_package(run_python: Callable[..., str]) -> None:
    assert loaded_by(run_python, "import effv2_tune; dir(effv2_tune)") == set()


def test_a_wrong_study_file_is_refused_before_any_framework_is_loaded(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\ntrials: many\n")
    code = f"from effv2_tune.cli import run; assert run(['run', '{tmp_path}/bad.yaml']) == 2"

    assert loaded_by(run_python, code) == set()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_help(name: str) -> None:
    command = import_module(cli.MODULES[name]).command

    assert command.help.splitlines()[0] == cli.COMMANDS[name]
    assert command.name == "command"


def test_a_wrong_study_file_gets_sentences_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\ntrials: many\nsearch: {sed: 1}\n")

    done = effv2_tune("run", "bad.yaml", cwd=tmp_path)

    assert done.returncode == EXIT_WRONG_INPUT
    assert done.stdout == ""
    assert done.stderr == (
        "Error: bad.yaml:1: search_space is missing: name a shipped space (effv2-tune spaces), "
        "a path, or write one here\n"
        "bad.yaml:2: trials: expected a whole number, found 'many'\n"
        "bad.yaml:3: search: unknown key 'sed', did you mean 'seed'?\n"
        "3 errors.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml"]


def test_a_misspelt_command_is_guessed() -> None:
    done = effv2_tune("exprt")

    assert done.returncode == EXIT_WRONG_INPUT
    assert "Did you mean" in done.stderr
    assert "'export'" in done.stderr


def test_a_misspelt_option_is_guessed() -> None:
    done = effv2_tune("run", "quickstart", "--trails", "3")

    assert done.returncode == EXIT_WRONG_INPUT
    assert "--trials" in done.stderr


def test_check_reports_that_a_valid_file_is_valid() -> None:
    done = effv2_tune("check", "quickstart")

    assert done.returncode == 0
    assert done.stdout.startswith("quickstart is valid: quickstart searches variant, resolution")


def test_check_prints_the_plan_with_every_default() -> None:
    plan = json.loads(effv2_tune("check", "quickstart", "--json").stdout)

    assert plan["search"]["engine"] == "tpe"
    assert plan["recipe"]["optimizer"] == "adabelief"


def test_data_that_is_not_there_is_a_mistake_of_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nsearch_space: quickstart\ntrials: 1\n"
    )

    done = effv2_tune("check", "study.yaml", cwd=tmp_path)

    assert done.returncode == EXIT_WRONG_INPUT
    assert "study.yaml:2: data: " in done.stderr
    assert "none.npz" in done.stderr


def test_init_writes_a_study_and_never_overwrites_one(tmp_path: Path) -> None:
    first = effv2_tune("init", cwd=tmp_path)
    (tmp_path / "study.yaml").write_text("mine")
    second = effv2_tune("init", cwd=tmp_path)

    assert first.stdout == "study.yaml\n"
    assert second.returncode == EXIT_WRONG_INPUT
    assert (tmp_path / "study.yaml").read_text() == "mine"


def test_variants_and_spaces_and_doctor_speak_json() -> None:
    assert len(json.loads(effv2_tune("variants", "--json").stdout)) == 9
    assert "quickstart" in json.loads(effv2_tune("spaces", "--json").stdout)["studies"]
    assert json.loads(effv2_tune("doctor", "--json").stdout)["host"]["cpu_count"] >= 1


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "effv2_tune", "spaces"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert "Traceback" not in process.stderr.read()


def test_colour_is_left_out_where_nobody_sees_it() -> None:
    assert "\x1b[" not in effv2_tune("rnu").stderr


def test_control_characters_of_an_error_message_are_escaped() -> None:
    done = effv2_tune("check", "cat\x1b[2J.yaml")

    assert done.returncode == EXIT_WRONG_INPUT
    assert "\x1b" not in done.stderr
    assert "cat\\x1b[2J.yaml" in done.stderr
