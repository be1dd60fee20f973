"""Assembles the pages of the documentation site in ``build/site-sources``; ``just docs`` builds it.

The pages link to the benchmark results, the notebooks and the changelog where they are in the
repository. The site has them among its pages, so these links are rewritten.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "build" / "site-sources"


def assemble(target: Path = TARGET) -> None:
    """Copy all pages and images into an empty folder, with links that work there."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "benchmarks").mkdir(parents=True)
    for source in (ROOT / "docs").iterdir():
        if source.suffix == ".md":
            text = source.read_text(encoding="utf-8")
            text = text.replace("](../benchmarks/results/", "](benchmarks/")
            text = text.replace("](../notebooks/", "](notebooks/")
            (target / source.name).write_text(text, encoding="utf-8")
        elif source.suffix in (".png", ".svg"):
            shutil.copy(source, target)
    for source in (ROOT / "benchmarks" / "results").iterdir():
        if source.suffix in (".md", ".png", ".svg"):
            shutil.copy(source, target / "benchmarks")
    shutil.copytree(ROOT / "notebooks", target / "notebooks")
    shutil.copy(ROOT / "CHANGELOG.md", target / "changelog.md")


if __name__ == "__main__":
    assemble()
