"""A small space whose learning curves follow from the config, and the loop on a simulated clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.loop import run_study
from effv2_tune.search.simulation import Curves, CurveWorkload, SimulatedPool
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from effv2_tune.search.clock import SimulatedClock
    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.in_memory import MemoryStorage

    LearningCurve = Callable[[Mapping[str, Any]], Iterator[tuple[int, float, float]]]

SPACE = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
        "width": {"type": "int", "low": 1, "high": 64, "scale": "log"},
        "kind": {"type": "choice", "values": [None, True, 1, {"per_device": 4}]},
    }
)
EPOCHS = 20


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """Wider is better and slower; some rates learn late."""
    off = abs(math.log10(config["rate"]) + 2)
    reach = 0.9 - 0.2 * off + 0.01 * math.log2(config["width"])
    for epoch in range(1, EPOCHS + 1):
        learnt = 1 - math.exp(-epoch / (2 + 2 * off))
        yield epoch, reach * learnt, epoch * (1.0 + config["width"] / 8)


def misleading_curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """The better the end, the worse the beginning."""
    *_, (_, reach, _) = curve(config)
    for epoch, _, seconds in curve(config):
        share = epoch / EPOCHS
        yield epoch, share * reach + (1 - share) * (0.5 - reach), seconds


def make_plan(**changes: Any) -> StudyPlan:
    halving = HalvingSpec(guard_after=4)
    settings_ = {
        "name": "simulated",
        "search_space": SPACE,
        "trials": 24,
        "search": SearchSpec(seed=7, halving=halving),
    }
    return StudyPlan(**(settings_ | changes))


def run_loop(
    plan: StudyPlan,
    storage: MemoryStorage,
    clock: SimulatedClock,
    *,
    learning_curve: LearningCurve = curve,
    **options: Any,
) -> Iterator[Event]:
    curves = Curves(learning_curve)
    return run_study(
        plan,
        engine=OptunaEngine(storage, plan.search_space, seed=plan.search.seed),
        pool=SimulatedPool(curves, plan.workers, clock),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
        **options,
    )
