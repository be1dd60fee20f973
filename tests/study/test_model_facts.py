"""The facts in a model file: classes and the preparation of images."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.study.model_facts import ModelFacts, add_facts, class_lines, read_facts
from effv2_tune.study.recipe import DataSpec, Recipe

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe(variant="tiny", resolution=40, data=DataSpec(fit="pad"))


def facts(*classes: str) -> ModelFacts:
    return ModelFacts.of(RECIPE, classes=classes, image_shape=(48, 64, 3), data_digest="d1")


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
    return path


def test_facts_that_were_added_are_read_back(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.keras")

    add_facts(path, facts("daisy", "Löwenzahn"))

    assert read_facts(path) == facts("daisy", "Löwenzahn")
    assert read_facts(path).fit == "pad"
    with zipfile.ZipFile(path) as file:
        assert file.read("config.json") == b"{}"


def test_a_class_name_of_any_bytes_is_one_line() -> None:
    name = b"rh\xf4ne".decode("utf-8", "surrogateescape")

    assert facts(name).classes == ("rh\N{REPLACEMENT CHARACTER}ne",)
    assert class_lines(["a", "b\nc", name]) == "a\nb c\nrh\N{REPLACEMENT CHARACTER}ne\n"


def test_a_model_without_facts_is_named_with_a_way_out(tmp_path: Path) -> None:
    text = tmp_path / "text.keras"
    text.write_text("no archive")
    damaged = archive(tmp_path / "damaged.keras")
    with zipfile.ZipFile(damaged, "a") as file:
        file.writestr("effv2_tune.json", '{"classes": 3}')
    wrong = {
        tmp_path / "none.keras": "There is no file ",
        tmp_path: " is a folder.",
        text: " is not a Keras model.",
        archive(tmp_path / "plain.keras"): " does not name its classes.",
        damaged: " is damaged.",
    }

    for path, sentence in wrong.items():
        with pytest.raises(TuneError) as refused:
            read_facts(path)
        assert sentence in refused.value.message
        assert "effv2-tune train" in str(refused.value.hint)
        assert refused.value.exit_code == EXIT_WRONG_INPUT
