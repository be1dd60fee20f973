"""Devices, buckets and plans that the tests of the forecast share."""

from __future__ import annotations

from typing import Any

from effv2_tune.forecast.study import StudyForecast, forecast_study
from effv2_tune.forecast.target import Target, target_of
from effv2_tune.forecast.times import KnownTime, same_work
from effv2_tune.forecast.work import Work, work_of
from effv2_tune.study.bucket import BucketKey, DataFacts, bucket_key
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import Recipe
from effv2_tune.workers.accelerators import named

DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=45_000, validation=5_000, test=10_000, digest="0"
)


#: Images per second in training on an RTX 3090: huggingface/pytorch-image-models,
#: results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv; variant, batch, size.
TIMM = [
    ("b0", 512, 192, 3428.08),
    ("b1", 512, 192, 2548.95),
    ("b2", 512, 208, 1951.52),
    ("b3", 256, 240, 1041.71),
    ("t", 256, 224, 1098.86),
    ("s", 128, 288, 559.15),
    ("s", 128, 300, 488.25),
    ("m", 64, 320, 246.55),
    ("m", 48, 384, 173.37),
    ("l", 32, 384, 97.56),
    ("xl", 16, 384, 62.14),
]


def target(device: str | None = None, *, backend: Any = "tensorflow") -> Target:
    if device is None:
        return target_of(
            None,
            kind="cpu",
            backend=backend,
            device_kind="Slow CPU",
            count=1,
            memory=16e9,
            cores=2,
        )
    chip, count = named(device)
    return target_of(chip, kind=chip.kind, backend="jax", device_kind=chip.device_kind, count=count)


def bucket(where: Target, data: DataFacts = DATA, **settings: Any) -> tuple[BucketKey, Work]:
    key = bucket_key(Recipe(optimizer="adamw", epsilon=1e-7, **settings), data, where.placement)
    return key, work_of(key)


def plan_of(**changes: Any) -> StudyPlan:
    space = {
        "variant": {"type": "choice", "values": ["b0", "s"]},
        "epochs": {"type": "int", "low": 4, "high": 12, "step": 4},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    }
    plan = {
        "name": "forecast",
        "recipe": {"resolution": 64, "schedule": "constant"},
        "search_space": space,
        "trials": 100,
        "search": {"halving": {"enabled": False}},
    }
    return StudyPlan.model_validate(plan | changes)


def forecast(plan: StudyPlan, where: Target, **known: KnownTime) -> StudyForecast:
    times = {same_work(one.key).digest: one for one in known.values()}
    return forecast_study(plan, DATA, where, on_disk=False, feature_limit=int(20e9), known=times)
