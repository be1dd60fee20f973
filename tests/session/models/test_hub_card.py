"""The model card as README.md of a repository on the Hub."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from effv2_tune.errors import MistakesError
from effv2_tune.session.models.hub_card import hub_card
from effv2_tune.study.recipe import DataSpec
from effv2_tune.study.trial import Scores

TEST = Scores(accuracy=0.93124, balanced_accuracy=0.92, macro_f1=0.91, top5=0.999, loss=0.2)
CARD = "# flowers-trial-7\n\nA classifier.\n\n## Use\n\nSo.\n"


def card(text: str = CARD, **data: Any) -> tuple[dict[str, Any], str]:
    """Metadata and text."""
    text = hub_card(text, repository="ada/flowers", data=DataSpec(**data), test=TEST)
    _, front, body = text.split("---\n", 2)
    return YAML(typ="safe").load(front), body


def test_the_metadata_name_the_library_the_task_and_the_test_scores() -> None:
    metadata, body = card()
    (index,) = metadata["model-index"]
    (result,) = index["results"]

    assert metadata["library_name"] == "keras"
    assert metadata["pipeline_tag"] == "image-classification"
    assert index["name"] == "flowers"
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    assert {one["name"]: one["value"] for one in result["metrics"]} == {
        "accuracy": 0.9312,
        "top-5 accuracy": 0.999,
        "balanced accuracy": 0.92,
        "macro F1": 0.91,
    }
    assert body.startswith("\n# flowers-trial-7\n")


@pytest.mark.parametrize("path", ["/home/me/flowers", "flowers", "s3://mine/secret/flowers"])
def test_data_of_the_user_have_the_name_of_their_folder_alone(path: str) -> None:
    metadata, _ = card(name="folder", path=path)
    (result,) = metadata["model-index"][0]["results"]

    assert result["dataset"] == {"name": "flowers", "type": "imagefolder", "split": "test"}


def test_the_card_says_how_keras_loads_the_model_from_the_hub() -> None:
    _, body = card()

    assert body.count('keras.saving.load_model("hf://ada/flowers")') == 1
    assert body.index("## Use") < body.index("hf://") < body.index("So.")


def test_front_matter_of_the_user_wins() -> None:
    metadata, body = card(f"---\nlicense: mit\ntags: [flowers]\n---\n{CARD}")

    assert metadata["license"] == "mit"
    assert metadata["tags"] == ["flowers"]
    assert metadata["library_name"] == "keras"
    assert "license" not in body


def test_front_matter_that_is_no_yaml_is_a_mistake_at_its_line() -> None:
    with pytest.raises(MistakesError, match=r"model_card\.md:3: not valid YAML"):
        card(f"---\nlicense: mit\ntags: a: b\n---\n{CARD}")
