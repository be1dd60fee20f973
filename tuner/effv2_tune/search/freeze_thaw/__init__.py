"""Decides by a Gaussian process of learning curves what to train next.

* `decision`: `FreezeThaw.propose`, the next action: begin a config, or continue a paused trial.
* `history`: the values it decides from.
* `kernel`, `gaussian_process`, `fitting`: the model of quality over (config, share of epochs).
* `curves`: the selection and the scale of the observations that the model is conditioned on.
* `improvement`: the expected hypervolume improvement when the seconds are known.
* `candidates`: the configs that are rated.
* `screening`: whether trainings on a subset of the images tell enough to begin them.

After Swersky, Snoek and Adams, "Freeze-Thaw Bayesian Optimization" (arXiv 1406.3896), for two
objectives of which one, the training seconds, is known.
"""

from effv2_tune.search.freeze_thaw.decision import FreezeThaw, Settings
from effv2_tune.search.freeze_thaw.history import (
    Action,
    Begin,
    Continue,
    History,
    Observation,
    Problem,
    Screen,
    Screening,
    Trial,
)

__all__ = [
    "Action",
    "Begin",
    "Continue",
    "FreezeThaw",
    "History",
    "Observation",
    "Problem",
    "Screen",
    "Screening",
    "Settings",
    "Trial",
]
