"""The documentation matches the code, and its pages are complete."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import effv2_tune
from effv2_tune.cli import COMMANDS

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("page", ["commands.md", "study-file.md"])
def test_reference_pages_are_those_that_the_code_generates(page: str) -> None:
    made = module("generate").PAGES[page]()

    assert (ROOT / "docs" / page).read_text() == made, "run: python docs/generate.py"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_has_an_example_in_its_help() -> None:
    help_of = module("generate").commands_page().split("\n## ")[2:]

    assert len(help_of) == len(COMMANDS)
    for text in help_of:
        assert "Examples:\n" in text, text.splitlines()[0]


def test_the_api_page_documents_every_public_name_once() -> None:
    documented = re.findall(
        r"^::: effv2_tune\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE
    )

    assert sorted(documented) == sorted(effv2_tune.__all__)


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    results = {f"benchmarks/{page.name}" for page in (ROOT / "benchmarks/results").glob("*.md")}

    assert listed == pages | results | {"changelog.md"}


def test_the_site_links_to_its_own_copies_of_the_benchmark_results(tmp_path: Path) -> None:
    module("build_site").assemble(tmp_path / "site")

    pages = sorted((tmp_path / "site").glob("*.md"))
    assert "index.md" in {page.name for page in pages}
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
