"""Defines the facts that a model file carries: its classes, and how its images are prepared."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from effv2_tune.errors import TuneError
from effv2_tune.study.base import Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from effv2_tune.study.recipe import Recipe

#: The member of a ``.keras`` archive that holds the facts. Keras reads its own members by name and
#: ignores this one; a model that Keras saves again does not have it.
FACTS_MEMBER = "effv2_tune.json"

_TRAIN_AGAIN = (
    "Pass the model.keras that 'effv2-tune train' writes; a file that Keras has saved again, or "
    "one of an earlier version, has no classes."
)
_Pixels = Annotated[int, Field(ge=1)]


class ModelFacts(Value):
    """What a program needs to use a model, beside its weights.

    Attributes:
        classes: Their names, in the order of the model's outputs.
        image_shape: Height, width and channels (RGB) of the images that it was trained on, as they
            were stored.
        fit: How an image of another aspect ratio was made to fit them.
        resolution: Side in pixels to which the model resizes them.
        variant: The network.
        data_digest: Of the images that it was trained on, and of their split.
    """

    classes: tuple[str, ...]
    image_shape: tuple[_Pixels, _Pixels, Literal[3]]
    fit: Literal["crop", "pad", "squash"]
    resolution: _Pixels
    variant: str
    data_digest: str

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        *,
        classes: Iterable[str],
        image_shape: tuple[int, int, int],
        data_digest: str,
    ) -> ModelFacts:
        """The facts of a trained recipe; arguments as the attributes."""
        return cls.from_plain(
            {
                "classes": [readable(name) for name in classes],
                "image_shape": list(image_shape),
                "fit": recipe.data.fit,
                "resolution": recipe.evaluation_pixels,
                "variant": recipe.variant,
                "data_digest": data_digest,
            }
        )


def readable(name: str) -> str:
    """A class name that JSON and UTF-8 can hold: a folder's name may have any bytes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def class_lines(classes: Iterable[str]) -> str:
    """The text of ``classes.txt``: one name on each line, in the order of the model's outputs."""
    return "".join(f"{' '.join(readable(name).splitlines())}\n" for name in classes)


def add_facts(model: str | Path, facts: ModelFacts) -> None:
    """Add facts to a ``.keras`` file that has none."""
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(FACTS_MEMBER, facts.model_dump_json(indent=2) + "\n")


def read_facts(model: Path) -> ModelFacts:
    """The facts in a ``.keras`` file.

    Raises:
        TuneError: There is no such file, it is no Keras model, or it has no facts.
    """
    if not model.is_file():
        found = f"{model} is a folder" if model.exists() else f"There is no file {model}"
        raise TuneError(f"{found}.", hint=_TRAIN_AGAIN)
    try:
        with zipfile.ZipFile(model) as archive:
            text = archive.read(FACTS_MEMBER)
        return ModelFacts.model_validate_json(text)
    except KeyError:
        raise TuneError(f"{model} does not name its classes.", hint=_TRAIN_AGAIN) from None
    except (zipfile.BadZipFile, ValidationError) as error:
        what = "is not a Keras model" if isinstance(error, zipfile.BadZipFile) else "is damaged"
        raise TuneError(f"{model} {what}.", hint=_TRAIN_AGAIN) from error
