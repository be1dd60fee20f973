"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.cli import COMMANDS

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "study-file.md"])
def test_reference_pages_are_those_that_the_code_generates(page: str) -> None:
    made = generator().PAGES[page]()

    assert (ROOT / "docs" / page).read_text() == made, "run: python docs/generate.py"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_has_an_example_in_its_help() -> None:
    help_of = generator().commands_page().split("\n## ")[2:]

    assert len(help_of) == len(COMMANDS)
    for text in help_of:
        assert "Examples:\n" in text, text.splitlines()[0]
