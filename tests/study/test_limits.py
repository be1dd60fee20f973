"""The upper bounds: the largest value allowed is, the next one is not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from effv2_tune.study import limits
from effv2_tune.study.recipe import Settings


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("epochs", limits.MAX_EPOCHS),
        ("resolution", limits.MAX_PIXELS),
        ("batch_size", limits.MAX_BATCH),
    ],
)
def test_a_setting_has_an_upper_bound(name: str, largest: Any) -> None:
    Settings.from_plain({name: largest})
    with pytest.raises(ValidationError):
        Settings.from_plain({name: largest + 1})


def test_a_path_has_names_that_a_file_can_have() -> None:
    assert limits.check_path("a" * 255) == "a" * 255
    with pytest.raises(ValueError, match="is too long; use at most 255 bytes for a name"):
        limits.check_path("é" * 128)
    with pytest.raises(ValueError, match="too long"):
        limits.check_path("a/" * 600)
    with pytest.raises(ValueError, match="home folder of an unknown user"):
        limits.check_path("~nobody-at-all/x")


def test_a_message_is_one_short_line() -> None:
    assert limits.one_line("a\n\x1b[31mb") == "a\\n\\x1b[31mb"
    assert len(limits.one_line("a" * 100_000)) < 1_100
