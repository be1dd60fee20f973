"""Runs studies and trainings from the command line or a notebook."""

from effv2_tune.session.optuna_objective import objective
from effv2_tune.session.study import Study

__all__ = ["Study", "objective"]
