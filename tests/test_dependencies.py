"""What is installed by which command: backends are extras, and every extra that is named exists."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def pyproject() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[Any]) -> set[str]:
    return {re.split(r"[\[<>=~;]", text)[0] for text in requirements if isinstance(text, str)}


def test_no_backend_is_a_core_dependency() -> None:
    core = names(pyproject()["project"]["dependencies"])

    assert not core & {"tensorflow", "jax", "torch"}


def test_a_tpu_host_installs_no_tensorflow() -> None:
    extras = pyproject()["project"]["optional-dependencies"]

    assert names(extras["tpu"]) == names(extras["cuda"]) == names(extras["jax"]) == {"jax"}
    assert names(extras["tensorflow"]) == {"tensorflow"}


def test_tests_run_on_both_backends() -> None:
    assert names(pyproject()["dependency-groups"]["test"]) >= {"tensorflow", "jax"}


def test_every_extra_and_group_that_is_named_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / ".github/workflows/ci.yml"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*pages, ROOT / ".ci/run"])
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tuner").rglob("*.py"))
    extras = set(re.findall(r"(?:'\.|effv2-tune)\[([a-z]+)\]", text + code))
    extras |= set(re.findall(r"install_command\(['\"](\w+)['\"]\)", code))
    groups = set(re.findall(r"--group (\w+)", text))

    assert extras >= {"tensorflow", "jax", "cuda", "tpu", "postgres"}
    assert extras <= set(pyproject()["project"]["optional-dependencies"])
    assert groups >= {"dev", "test"}
    assert groups <= set(pyproject()["dependency-groups"])


def test_pages_and_notebooks_install_from_a_checkout_or_a_wheel() -> None:
    """The package is on no index."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").iterdir()]
    by_name = re.compile(r"(?:pip|uv|uvx) [\w -]*\\?[\"']?effv2-tune\b")
    found = [page.name for page in pages if by_name.search(page.read_text(encoding="utf-8"))]

    assert not found


def test_install_commands_in_messages_fit_a_checkout() -> None:
    fixed = [
        path.name
        for path in (ROOT / "tuner").rglob("*.py")
        if path.name != "host.py"
        and re.search(r"pip install [^{]*effv2-tune\[", path.read_text(encoding="utf-8"))
    ]

    assert not fixed, f"use host.install_command: {fixed}"


#: Distributions whose name is not that of the package that they install.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
    "ruamel": "ruamel.yaml",
    "sklearn": "scikit-learn",
}
#: Imported by the engine `gp` only, where the user has installed it; and a part of pydantic.
OPTIONAL = {"torch", "pydantic-core"}


def imported() -> set[str]:
    """Top-level packages that the code imports."""
    found = set()
    for path in (ROOT / "tuner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"effv2_tune"}


def test_every_imported_package_is_a_declared_dependency() -> None:
    project = pyproject()["project"]
    declared = names(project["dependencies"]).union(
        *(names(extra) for extra in project["optional-dependencies"].values())
    )
    needed = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in imported()}

    assert not needed - declared - OPTIONAL
