"""A value: frozen, complete, and checked when it is made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """The base of everything that is read from a file or kept in a record.

    Values never change and refuse names they do not know, so a misspelt key is a mistake rather
    than a default. They are strict too: ``trials: true`` is a mistake, not one trial.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )
