"""Writes the trials of a study as a Parquet file."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import write_bytes
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.host import install_command

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame to a Parquet file, atomically; its folder is created if it does not exist.

    A column holds values of one type: choices of several types are written as text, lists and
    mappings as JSON.

    Raises:
        TuneError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow as pa  # noqa: F401 - pandas imports it, and names no extra
    except ImportError as error:
        raise TuneError(
            "Parquet files are written with pyarrow, which is not installed.",
            hint=f"Install it: {install_command('parquet')}; or use --csv.",
            exit_code=EXIT_FAILED,
        ) from error
    buffer = io.BytesIO()
    plain = frame.apply(lambda column: _of_one_type(column) if column.dtype == object else column)
    plain.to_parquet(buffer, engine="pyarrow", index=False)
    hint = "Name a folder that exists and that you may write to."
    with disk_errors(f"The trials cannot be written to {path}", hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())


def _of_one_type(column: pd.Series[Any]) -> pd.Series[Any]:
    types = {type(value) for value in column.dropna()}
    if len(types) <= 1 and not types & {dict, list, tuple}:
        return column
    return column.map(
        lambda value: value if value is None or isinstance(value, str) else json.dumps(value)
    )
