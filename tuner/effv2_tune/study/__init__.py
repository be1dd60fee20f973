"""Defines study plan, recipe, search space and trial as values, and reads them from YAML."""

from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.loading import LoadedPlan, load_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import DataSpec, Recipe, Settings
from effv2_tune.study.space import Config, Space
from effv2_tune.study.trial import Measurement, Trial

__all__ = [
    "BucketKey",
    "Config",
    "DataFacts",
    "DataSpec",
    "LoadedPlan",
    "Measurement",
    "Recipe",
    "Settings",
    "Space",
    "StudyPlan",
    "Trial",
    "load_plan",
]
