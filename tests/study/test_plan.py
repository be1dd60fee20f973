"""Study plans."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from effv2_tune.study import StudyPlan
from effv2_tune.study.plan import StopSpec


@pytest.mark.parametrize(
    ("recipe", "space", "pixels"),
    [
        ({"resolution": 64}, {}, 64),
        ({"variant": "s"}, {}, 384),
        ({}, {"variant": {"type": "choice", "values": ["b0", "b2"]}}, 260),
        ({}, {"resolution": {"type": "choice", "values": [64, "native", 300]}}, 300),
        ({}, {"resolution": {"type": "int", "low": 32, "high": 96}}, 96),
        ({"resolution": 64, "evaluation_resolution": 96}, {}, 96),
        ({"resolution": 64, "evaluation_resolution": "native"}, {}, 224),
        (
            {"resolution": 64},
            {"evaluation_resolution": {"type": "choice", "values": ["same", 48, 80]}},
            80,
        ),
    ],
)
def test_images_are_stored_at_the_largest_size_that_a_trial_may_see(
    recipe: dict[str, object], space: dict[str, object], pixels: int
) -> None:
    epochs = {"epochs": {"type": "int", "low": 1, "high": 3}}
    written = {"name": "mine", "search_space": epochs | space, "trials": 3, "recipe": recipe}

    assert StudyPlan.model_validate_json(json.dumps(written)).largest_resolution == pixels


def test_no_new_front_point_alone_leaves_the_growth_out() -> None:
    assert StopSpec.model_validate({"no_new_front_point": 9}).growth is None
    assert StopSpec.model_validate({"no_new_front_point": 9, "trials": 20}).growth == 0.01
    assert StopSpec().growth == 0.01
    with pytest.raises(ValidationError, match="never ends the study"):
        StopSpec(growth=None)
