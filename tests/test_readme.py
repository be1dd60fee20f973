"""The README's commands exist, and its Python runs as far as it trains nothing."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from tests.fenced_blocks import PAGES, ROOT, SHELLS, Block, blocks
from tests.fenced_blocks import command_lines as typed_lines

import effv2_tune
from effv2_tune.cli import COMMANDS, MODULES, cli
from effv2_tune.study.loading import load_plan, parse_plan
from effv2_tune.study.shipped import shipped_studies
from effv2_tune.study.yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

# Pages that the code generates show usage lines, which no one types.
GENERATED = ("commands.md", "study-file.md")


def command_lines() -> Iterator[tuple[str, int, list[str]]]:
    """Each `effv2-tune` command line, once in a block: page, line of its block, arguments."""
    known: list[tuple[str, int, list[str]]] = []
    for line in _command_lines():
        if line not in known:
            known.append(line)
    yield from known


def _command_lines() -> Iterator[tuple[str, int, list[str]]]:
    for block in blocks():
        if block.language not in (*SHELLS, "ipython") or block.page in GENERATED:
            continue
        for typed in typed_lines(block):
            for part in re.split(r"&&|\|\||[|;]", typed.removeprefix("!")):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name == "effv2-tune":
                    yield block.page, block.line, _without_redirection(words[1:])


def _without_redirection(words: list[str]) -> list[str]:
    stop = next((n for n, word in enumerate(words) if word.startswith((">", "2>", "<"))), None)
    return words[:stop]


def parsed(block: Block) -> ast.Module:
    """The block's syntax tree; of a pasted session, that of what was typed."""
    typed = [example.source for example in doctest.DocTestParser().get_examples(block.text)]
    return ast.parse("".join(typed) or block.text, filename=f"{block.page}:{block.line}")


COMMAND_LINES = list(command_lines())
PYTHON = [block for block in blocks() if block.language == "python"]


def test_a_typed_command_is_in_a_block_of_a_shell() -> None:
    """Blocks without a language are outputs, and their lines are not checked."""
    typed = {
        page.name: re.findall(r"^```\n(?:\$ )?effv2-tune [^\n]*", page.read_text(), re.MULTILINE)
        for page in PAGES
        if page.name not in GENERATED
    }

    assert {page: lines for page, lines in typed.items() if lines} == {}


def test_the_readme_shows_a_command_and_python() -> None:
    assert any(page == "README.md" for page, _, _ in COMMAND_LINES)
    assert any(block.page == "README.md" for block in PYTHON)


@pytest.mark.parametrize(
    ("page", "line", "arguments"), COMMAND_LINES, ids=lambda given: str(given)[:60]
)
def test_a_command_line_is_one_that_the_tool_takes(
    page: str, line: int, arguments: list[str]
) -> None:
    place = f"{page}:{line}"
    assert arguments, f"{place}: effv2-tune alone"
    if arguments[0].startswith("-"):
        assert arguments[0] in ("--help", "-h", "--version"), place
        return
    name, *rest = arguments
    assert name in COMMANDS, f"{place}: no command {name!r}"
    command = import_module(MODULES[name]).command
    try:
        with click.Context(cli, **cli.context_settings) as parent:
            command.make_context(name, list(rest), parent=parent)
    except click.exceptions.Exit:
        return  # it asked for help
    except click.ClickException as error:
        pytest.fail(f"{place}: {error.format_message()}")


@pytest.mark.parametrize(
    ("page", "line", "arguments"), COMMAND_LINES, ids=lambda given: str(given)[:60]
)
def test_a_study_that_is_named_is_shipped_or_an_example(
    page: str, line: int, arguments: list[str]
) -> None:
    if arguments[0] not in ("run", "check", "plan"):
        return
    study = next((word for word in arguments[1:] if not word.startswith("-")), None)
    assert study is not None
    if study.endswith(".yaml") and not (ROOT / study).is_file():
        return  # the reader's own
    name = Path(study).name.removesuffix(".yaml")
    assert name in shipped_studies(), f"{page}:{line}: no study {study!r} is shipped"
    assert load_plan(name).plan.name == name


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page}:{block.line}")
def test_python_uses_names_that_exist(block: Block) -> None:
    tree = parsed(block)
    modules = {"effv2_tune": effv2_tune}

    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("effv2_tune"):
            found = import_module(str(node.module))
            for alias in node.names:
                assert hasattr(found, alias.name), f"{block.page}:{block.line}: {alias.name}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), node.attr


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page}:{block.line}")
def test_python_calls_methods_that_a_study_has(block: Block) -> None:
    tree = parsed(block)
    studies = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "Study.load" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in studies
        ):
            known = {*dir(effv2_tune.Study), "plan", "base", "out"}
            assert node.attr in known, f"{block.page}:{block.line}: study.{node.attr}"


def test_the_study_that_the_readme_shows_is_right() -> None:
    shown = [
        parse_plan(parse_yaml(block.text, name=block.page), base=ROOT)
        for block in blocks()
        if (block.page, block.language) == ("README.md", "yaml") and "search_space" in block.text
    ]

    assert shown
