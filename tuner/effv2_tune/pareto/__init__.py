"""Decides over (quality, seconds): dominance, front, hypervolume, halving, rungs, certainty."""

from effv2_tune.pareto.certainty import (
    draw_outcomes,
    draw_seconds,
    front_probabilities,
    pick_probabilities,
)
from effv2_tune.pareto.estimates import (
    COMMON_SHARE,
    SEED_SHARE,
    Candidate,
    Estimate,
    Posterior,
    SeedVariance,
    binomial_error,
    estimates,
    seed_variance,
    standard_error_of,
)
from effv2_tune.pareto.extrapolation import expected_outcome
from effv2_tune.pareto.front import dominates, front_of, pareto_front
from effv2_tune.pareto.growth import FrontGrowth, Outcome, front_growth, outcome_of
from effv2_tune.pareto.halving import HalvingDecision, decide, optimistic_gain
from effv2_tune.pareto.hypervolume import front_reference, hypervolume
from effv2_tune.pareto.objective import ACCURACY, Objective, QualityDirection
from effv2_tune.pareto.picking import fastest, knee, most_accurate, within
from effv2_tune.pareto.projection import project_seconds, training_seconds
from effv2_tune.pareto.ranking import nondominated_ranks, rank_order
from effv2_tune.pareto.rung_strictness import FullCurve, rank_correlation, strictness
from effv2_tune.pareto.rungs import cycle_epochs, place_rungs, rungs_of

__all__ = [
    "ACCURACY",
    "COMMON_SHARE",
    "SEED_SHARE",
    "Candidate",
    "Estimate",
    "FrontGrowth",
    "FullCurve",
    "HalvingDecision",
    "Objective",
    "Outcome",
    "Posterior",
    "QualityDirection",
    "SeedVariance",
    "binomial_error",
    "cycle_epochs",
    "decide",
    "dominates",
    "draw_outcomes",
    "draw_seconds",
    "estimates",
    "expected_outcome",
    "fastest",
    "front_growth",
    "front_of",
    "front_probabilities",
    "front_reference",
    "hypervolume",
    "knee",
    "most_accurate",
    "nondominated_ranks",
    "optimistic_gain",
    "outcome_of",
    "pareto_front",
    "pick_probabilities",
    "place_rungs",
    "project_seconds",
    "rank_correlation",
    "rank_order",
    "rungs_of",
    "seed_variance",
    "standard_error_of",
    "strictness",
    "training_seconds",
    "within",
]
