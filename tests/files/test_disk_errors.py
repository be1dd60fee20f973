"""Tests of effv2_tune.files.disk_errors."""

from __future__ import annotations

import errno

import pytest

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.disk_errors import disk_errors


def test_an_error_of_the_disk_is_a_message_for_the_user() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(TuneError) as failed,
        disk_errors("The table cannot be written to /disk", hint="Free space there."),
    ):
        raise full
    message = "The table cannot be written to /disk: No space left on device.\nFree space there."
    assert str(failed.value) == message
    assert failed.value.exit_code == EXIT_FAILED
    assert failed.value.__cause__ is full


def test_other_errors_pass_through() -> None:
    with pytest.raises(ValueError, match="not of the disk"), disk_errors("Lost", hint=""):
        raise ValueError("not of the disk")
