"""What freeze-thaw takes from the records of earlier studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.search.engines.test_curve_history import EPOCHS, complete, config, trial
from tests.search.simulated_study import SPACE

from effv2_tune.search.engines.earlier_studies import EarlierStudy
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.freeze_thaw.expectations import Basis
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from effv2_tune.study.trial import Trial

CUBE = UnitCube(SPACE)


class Record:
    """Of a study: what is read of one."""

    def __init__(self, *trials: Trial, quality: Any = "accuracy") -> None:
        recipe = Recipe(epochs=EPOCHS)
        self.trials = [one.model_copy(update={"recipe": recipe}) for one in trials]
        self.plan = StudyPlan(name="before", search_space=SPACE, trials=1, quality=quality)


def study(*trials: Trial, **facts: Any) -> EarlierStudy:
    return EarlierStudy.of(Record(*trials, **facts), SPACE)  # type: ignore[arg-type]


def test_the_curves_of_all_trials_are_kept_with_their_shares() -> None:
    kept = study(complete(0, 0.1, 0.2, 0.3, 0.9), trial(1, "pruned", 0.4, 0.5), trial(2, "failed"))

    assert kept.name == "before"
    assert [one.config for one in kept.curves] == [config(1), config(2)]
    shares = [[share for share, *_ in one.measured] for one in kept.curves]
    assert shares == [[0.1, 0.2, 0.4, 1.0], [0.1, 0.2]]


def test_a_loss_is_negated() -> None:
    (curve,) = study(complete(0, 0.5), quality="loss").curves

    assert curve.measured[-1][1] == -0.5


def test_it_is_read_back_equal() -> None:
    kept = study(complete(0, 0.1, 0.9), trial(1, "paused", 0.4))

    assert EarlierStudy.from_plain(kept.model_dump(mode="json")) == kept


def test_configs_outside_of_the_space_are_left_out() -> None:
    outside = complete(0, 0.9).model_copy(update={"config": config(10**6)})

    assert study(outside).curves == ()
    assert study(outside).ends(SPACE, CUBE) is None


def test_a_parameter_that_was_not_searched_has_the_value_of_the_recipe() -> None:
    space = Space.model_validate(
        {"epochs": {"type": "int", "low": 1, "high": 50}, "flip": {"type": "fixed", "value": True}}
    )
    one = complete(0, 0.9).model_copy(update={"config": {}})

    (curve,) = EarlierStudy.of(Record(one), space).curves  # type: ignore[arg-type]

    assert curve.config == {"epochs": EPOCHS, "flip": True}


def test_the_scale_of_the_earlier_quality_does_not_matter() -> None:
    def expected(scale: float) -> np.ndarray:
        trials = [complete(n, 0.2 * scale, scale * (0.3 + 0.05 * n)) for n in range(8)]
        points = np.array([CUBE.point(config(n + 1)) for n in range(8)])
        ends = study(*trials).ends(SPACE, CUBE)
        assert ends is not None
        return Basis.of([ends], points).at(points)[:, 0]

    assert expected(1.0) == pytest.approx(expected(0.1), abs=1e-6)
    assert np.argmax(expected(1.0)) == 7
