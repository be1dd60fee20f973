"""The notebooks, executed on a CPU: the one for Colab takes over the study of the one for Kaggle.

Starting Keras takes seconds, so only the one for Kaggle trains; test_mirror.py tests that training
continues from a mirror.
"""

from __future__ import annotations

import ast
import base64
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from effv2_tune.search import read_study
from effv2_tune.study.loading import parse_plan
from effv2_tune.study.yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import StudyPlan

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
REAL, REHEARSAL = "SMALL = False", "SMALL = True"
TIMEOUT_SECONDS = 240


def notebook(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def source(name: str, cell_id: str) -> str:
    (found,) = (cell.source for cell in notebook(name).cells if cell.id == cell_id)
    return str(found)


def plan_of(name: str) -> StudyPlan:
    """The study that a notebook writes when it is no rehearsal."""
    code = "\n".join(
        line for line in source(name, "study").splitlines() if not line.startswith("!")
    )
    (text,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEARCH"
    )
    return parse_plan(parse_yaml(text, name=name), base=NOTEBOOKS).plan


@dataclass(frozen=True)
class Executed:
    """A notebook after its execution.

    Attributes:
        folder: Its working directory.
        cells: Its code cells by their IDs, with their outputs.
    """

    folder: Path
    cells: dict[str, Any]

    @property
    def record(self) -> StudyRecord:
        return read_study(self.folder / "disk" / "study")

    def printed(self, cell_id: str) -> str:
        outputs = self.cells[cell_id].outputs
        return "".join(out.text for out in outputs if out.output_type == "stream")

    def picture(self, cell_id: str) -> bytes:
        outputs = self.cells[cell_id].outputs
        (data,) = (out.data for out in outputs if out.output_type == "execute_result")
        return base64.b64decode(data["image/png"])


def execute(name: str, folder: Path) -> Executed:
    """Execute a notebook as a rehearsal, with the commands of this Python."""
    book = notebook(name)
    (settings,) = (cell for cell in book.cells if cell.id == "settings")
    settings.source = settings.source.replace(REAL, REHEARSAL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "IPYTHONDIR": str(folder / "ipython")}
    client = NotebookClient(
        book, timeout=TIMEOUT_SECONDS, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=env)
    return Executed(folder, {cell.id: cell for cell in book.cells if cell.cell_type == "code"})


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """The notebook for Kaggle, with nothing as input."""
    return execute("kaggle", tmp_path_factory.mktemp("kaggle"))


@pytest.fixture(scope="module")
def colab(kaggle: Executed, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """The notebook for Colab, with Kaggle's output on Drive."""
    folder = tmp_path_factory.mktemp("colab")
    shutil.copytree(kaggle.folder / "working", folder / "drive" / "effv2-tune" / "kaggle")
    return execute("colab", folder)


def texts(executed: Executed) -> Iterator[tuple[str, str]]:
    yield from ((cell_id, executed.printed(cell_id)) for cell_id in executed.cells)


@pytest.mark.parametrize("name", ["colab", "kaggle"])
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    book = notebook(name)
    code = [cell for cell in book.cells if cell.cell_type == "code"]

    nbformat.validate(book)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert code[0].id == "settings"
    assert code[0].source.count(REAL) == 1


def test_both_notebooks_search_the_same_recipes_on_one_chip_each() -> None:
    begun, continued = plan_of("kaggle"), plan_of("colab")

    assert (begun.workers, continued.workers) == (8, 1)
    assert begun.devices_per_worker is begun.target is None
    assert begun.model_copy(update={"workers": 1}) == continued
    assert "--workers {WORKERS}" in source("colab", "run")


@pytest.mark.parametrize("name", ["colab", "kaggle"])
def test_a_notebook_installs_a_jax_that_is_in_the_lock_file(name: str) -> None:
    (version,) = re.findall(r'"jax\[tpu\]==([\d.]+)"', source(name, "install"))

    assert f'name = "jax"\nversion = "{version}"\n' in (ROOT / "uv.lock").read_text()


@pytest.mark.slow
def test_kaggle_runs_a_study_and_keeps_its_mirror(kaggle: Executed) -> None:
    assert kaggle.printed("doctor").startswith("use ")
    assert [trial.state for trial in kaggle.record.trials] == ["complete", "complete"]
    assert len(list((kaggle.folder / "working").glob("mirror/*/claim.json"))) == 1


@pytest.mark.slow
def test_colab_has_the_study_of_kaggle_and_a_mirror_of_its_own(
    kaggle: Executed, colab: Executed
) -> None:
    assert "restored from drive/effv2-tune/kaggle/mirror" in colab.printed("run")
    assert "All 2 trials of the study are done" in colab.printed("run")
    assert colab.record.trials == kaggle.record.trials
    assert len(list((colab.folder / "drive/effv2-tune").glob("mirror/*/claim.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kept"), [("kaggle", "working"), ("colab", "drive/effv2-tune")])
def test_a_notebook_shows_the_front_and_exports_a_point_of_it(
    name: str, kept: str, request: pytest.FixtureRequest
) -> None:
    executed: Executed = request.getfixturevalue(name)
    exported = executed.folder / kept / "train.yaml"

    assert executed.printed("status").startswith("rehearsal: ")
    assert executed.picture("front").startswith(b"\x89PNG")
    assert "Next: effv2-tune train" in executed.printed("export")
    assert "of study rehearsal (knee)" in exported.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kaggle", "colab"])
def test_no_cell_fails_or_draws_progress_bars(name: str, request: pytest.FixtureRequest) -> None:
    for cell_id, text in texts(request.getfixturevalue(name)):
        assert "\x1b" not in text, cell_id
        assert not re.search("^(Error:|Traceback)", text, re.MULTILINE), cell_id
