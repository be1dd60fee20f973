"""Redirects what TensorFlow and XLA print away from the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.report.console import Console


@contextmanager
def redirected_to(log: Path) -> Iterator[Console]:
    """Redirect the output of TensorFlow and XLA from C++ to a file; yields the real terminal.

    They write to file descriptors 1 and 2 before any setting reaches them.
    """
    from effv2_tune.session.progress import ProgressConsole

    sys.stdout.flush()
    sys.stderr.flush()
    outside = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    try:
        with (
            log.open("ab") as stream,
            os.fdopen(os.dup(outside[2]), "w", encoding="utf-8") as terminal,
        ):
            for descriptor in outside:
                os.dup2(stream.fileno(), descriptor)
            yield ProgressConsole(file=terminal, highlight=False)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, kept in outside.items():
            os.dup2(kept, descriptor)
            os.close(kept)


@contextmanager
def hidden_unless_it_fails() -> Iterator[None]:
    """Keep the output of the frameworks off the terminal; print it to stderr after an exception."""
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        log = Path(folder) / "frameworks.log"
        try:
            with redirected_to(log):
                yield
        except Exception:
            sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
            raise
