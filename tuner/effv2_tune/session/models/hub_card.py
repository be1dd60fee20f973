"""Adds the metadata of the Hugging Face Hub to a model card."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from effv2_tune.report.quantities import label_of
from effv2_tune.study.yaml_file import dump_yaml, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.recipe import DataSpec
    from effv2_tune.study.trial import Scores

#: The Hub's identifiers of the scores (hf.co/metrics); it has none for a loss.
_METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "top5": ("accuracy", "top-5 accuracy"),
    "balanced_accuracy": ("accuracy", label_of("balanced_accuracy")),
    "macro_f1": ("f1", "macro F1"),
}
#: Data of the user, and what the Hub calls a dataset of image files.
_OWN_DATA, _IMAGE_FILES = ("folder", "csv", "npz"), "imagefolder"
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_LOAD = """
From the Hub, with Keras and `huggingface_hub`:

```python
import keras

model = keras.saving.load_model("hf://{repository}")
```

With the files of this repository:
"""


def hub_card(
    card: str, *, repository: str, data: DataSpec, test: Scores, name: str = "model_card.md"
) -> str:
    """The card as ``README.md`` of a repository: YAML front matter, and how the model is loaded.

    Args:
        card: As `train` writes it; keys of a front matter of its own, such as ``license``, win.
        repository: Its name, ``USER/NAME``.
        data: What the model was trained on.
        test: Scores on the test images.
        name: Of the card's file, for messages.

    Raises:
        MistakesError: The card's own front matter is not valid YAML.
    """
    own: Mapping[str, Any] = {}
    if found := _FRONT_MATTER.match(card):
        own = parse_yaml(f"\n{found[1]}", name=name).data  # numbers of lines as in the file
        card = card[found.end() :].lstrip("\n")
    metadata = dump_yaml(_metadata(repository, data, test) | dict(own))
    body = card.replace("\n## Use\n", f"\n## Use\n{_LOAD.format(repository=repository)}", 1)
    return f"---\n{metadata}---\n\n{body}"


def _metadata(repository: str, data: DataSpec, test: Scores) -> dict[str, Any]:
    """The keys of the Hub: https://huggingface.co/docs/hub/model-cards ."""
    is_own = data.name in _OWN_DATA
    # Without its folders, which are nobody's business.
    dataset = PurePosixPath(data.path).name if is_own and data.path else data.name
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {
            "name": dataset,
            "type": _IMAGE_FILES if is_own else data.name,
            "split": "test",
        },
        "metrics": [
            {"type": kind, "value": round(test.value_of(score), 4), "name": title}
            for score, (kind, title) in _METRICS.items()
        ],
    }
    return {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["efficientnetv2", "effv2-tune"],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": repository.rpartition("/")[2], "results": [result]}],
    }
