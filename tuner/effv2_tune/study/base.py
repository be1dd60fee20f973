"""Defines the base class of all values: frozen, complete, and validated when they are made."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """The base of everything that is read from a file or kept in a record.

    Values never change and refuse unknown names, so a misspelt key is an error rather than a
    default. They are strict: ``trials: true`` is an error, not one trial.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """Validate the dictionaries, lists and scalars of a YAML or JSON file.

        By way of JSON, because strict models refuse lists for tuples only where they come from
        Python.

        Raises:
            pydantic.ValidationError: With everything that is wrong.
        """
        return cls.model_validate_json(json.dumps(data))
