"""Decides over (quality, seconds): dominance, front, hypervolume, knee, halving, rungs."""

from effv2_tune.pareto.extrapolation import expected_outcome
from effv2_tune.pareto.front import dominates, front_of, pareto_front
from effv2_tune.pareto.halving import HalvingDecision, decide, optimistic_gain
from effv2_tune.pareto.hypervolume import hypervolume, reference_point, standard_reference
from effv2_tune.pareto.objective import ACCURACY, Objective, QualityDirection
from effv2_tune.pareto.picking import fastest, knee, most_accurate, within
from effv2_tune.pareto.projection import project_seconds, training_seconds
from effv2_tune.pareto.ranking import nondominated_ranks, rank_order
from effv2_tune.pareto.rungs import cycle_epochs, place_rungs

__all__ = [
    "ACCURACY",
    "HalvingDecision",
    "Objective",
    "QualityDirection",
    "cycle_epochs",
    "decide",
    "dominates",
    "expected_outcome",
    "fastest",
    "front_of",
    "hypervolume",
    "knee",
    "most_accurate",
    "nondominated_ranks",
    "optimistic_gain",
    "pareto_front",
    "place_rungs",
    "project_seconds",
    "rank_order",
    "reference_point",
    "standard_reference",
    "training_seconds",
    "within",
]
