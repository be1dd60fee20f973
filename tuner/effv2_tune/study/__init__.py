"""The plan of a search as values, and how it is read from YAML."""

from effv2_tune.study.bucket import BucketKey, DataFacts, Placement, bucket_key
from effv2_tune.study.plan import StudyPlan, load_plan, parse_plan
from effv2_tune.study.recipe import DataSpec, PerDevice, Recipe, Settings
from effv2_tune.study.space import Config, Space
from effv2_tune.study.trial import Measurement, Trial

__all__ = [
    "BucketKey",
    "Config",
    "DataFacts",
    "DataSpec",
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
