"""Defines study plan, recipe, search space and trial as values, and reads them from YAML."""

from effv2_tune.study.bucket import BucketKey, DataFacts, Placement, bucket_key
from effv2_tune.study.loading import LoadedPlan, load_plan, parse_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import DataSpec, PerDevice, Recipe, Settings
from effv2_tune.study.space import Config, Space
from effv2_tune.study.trial import Measurement, Trial

__all__ = [
    "BucketKey",
    "Config",
    "DataFacts",
    "DataSpec",
    "LoadedPlan",
    "Measurement",
    "PerDevice",
    "Placement",
    "Recipe",
    "Settings",
    "Space",
    "StudyPlan",
    "Trial",
    "bucket_key",
    "load_plan",
    "parse_plan",
]
