"""Copies the packages into a folder, as the registry takes them: with the model of freeze-thaw.

    python interop/optunahub/assemble.py FOLDER

A package of the registry cannot import this project without its frameworks. So the package
`samplers/freeze_thaw` gets a copy of `effv2_tune.search.freeze_thaw`, which needs NumPy and SciPy
alone; in this repository it is not copied, so that there is one of it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "tuner" / "effv2_tune" / "search" / "freeze_thaw"
NAME = "effv2_tune.search.freeze_thaw"


def assemble(folder: Path) -> None:
    """Copy the packages into ``folder / "package"``.

    Raises:
        FileExistsError: There is one.
    """
    package = folder / "package"
    shutil.copytree(HERE / "package", package, ignore=shutil.ignore_patterns("__pycache__"))
    model = package / "samplers" / "freeze_thaw" / "model"
    model.mkdir()
    for source in sorted(MODEL.glob("*.py")):
        text = source.read_text(encoding="utf-8")
        text = text.replace(f"from {NAME}.", "from .").replace(f"from {NAME} ", "from . ")
        (model / source.name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
