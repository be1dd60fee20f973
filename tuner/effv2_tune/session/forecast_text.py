"""Formats a forecast as text and tables, and as plain data for JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from effv2_tune.forecast import roofline
from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import human_bytes, human_seconds
from effv2_tune.study.bucket import differing_parts, parts_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from effv2_tune.forecast.compiled import CompiledForecast
    from effv2_tune.forecast.cost import StudyCost, TrialSeconds
    from effv2_tune.forecast.disk import DiskForecast
    from effv2_tune.forecast.study import BucketForecast, StudyForecast, TargetForecast
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.times import StepTime
    from effv2_tune.session.forecast import FreeSpace
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import StudyPlan

_GIGA = 1e9
_MEGA = 1e6
_HOUR = 3600.0
_TIERS = {
    "resident": "resident on the device",
    "streamed": "in host memory, streamed to the device",
    "store": "decoded in a store on disk, streamed to the device",
}
#: Parts of a bucket that the table has columns for, or that are the same for all of a study.
_SHOWN = {
    "variant",
    "resolution",
    "evaluation_resolution",
    "batch",
    "backend",
    "device_kind",
    "device_count",
    "classes",
}
_COLUMNS = (
    "network",
    "batch",
    "trials",
    "weights",
    "GFLOP/image",
    "checkpoint",
    "memory",
    "ms/step",
    "epoch",
    "a trial",
    "time from",
)


def lines(forecast: StudyForecast, plan: StudyPlan, free: FreeSpace) -> Iterator[str]:
    """The forecast, line by line."""
    yield _device(forecast)
    yield f"images: {human_bytes(forecast.image_bytes)} as uint8, {_TIERS[forecast.tier]}"
    yield ""
    yield from _table(forecast)
    yield ""
    yield from _about_memory(forecast)
    yield from _about_time(forecast)
    yield from _about_disk(forecast.disk, plan, free)
    if forecast.cost is not None:
        yield from _about_cost(forecast.cost, forecast, plan)


def as_data(forecast: StudyForecast, free: FreeSpace) -> dict[str, Any]:
    """The forecast as plain data; units are part of the keys."""
    target = forecast.target
    disk = forecast.disk
    return {
        "device": {
            **target.placement.model_dump(),
            "kind": target.kind,
            "memory_bytes": target.memory,
            "usable_memory_bytes": target.usable_memory,
        },
        "data": forecast.data.model_dump() | {"bytes": forecast.image_bytes, "tier": forecast.tier},
        "buckets": [_bucket_data(one, forecast) for one in forecast.buckets],
        "disk": asdict(disk)
        | {"out": disk.out, "cache": disk.cache, "total": disk.total, "free": asdict(free)},
        "cost": None if forecast.cost is None else asdict(forecast.cost),
    }


def _bucket_data(one: BucketForecast, forecast: StudyForecast) -> dict[str, Any]:
    memory, time, trial, timed = one.memory, one.time, one.trial, one.timed
    images = one.share.key.batch / one.share.key.device_count
    return {
        "label": one.share.key.label,
        "bucket": one.share.key.model_dump(mode="json"),
        "share": one.share.share,
        "parameters": one.work.parameters,
        "train_flops": one.work.train_flops,
        "epoch_flops": one.work.train_flops * forecast.data.train,
        "compiled_flops": one.work.compiled_step_flops(images) / images,
        "xla_flops": None if timed is None else timed.flops,
        "compiled": None if one.compiled is None else compiled_data(one.compiled),
        "checkpoint_bytes": one.work.checkpoint_bytes,
        "memory_bytes": asdict(memory) | {"total": memory.total},
        "measured_memory_bytes": None if timed is None else timed.memory_bytes,
        "fits": one.fits,
        "would_fit": would_fit(one),
        "reason": "" if timed is None else timed.reason,
        "step_seconds": None if time is None else time.step_seconds,
        "time_source": None if time is None else time.source,
        "time_origin": None if time is None else time.origin,
        "epoch_steps": one.share.epoch_steps,
        "epochs": one.share.epochs,
        "epoch_seconds": None if trial is None else trial.epoch,
        "evaluation_seconds": None if trial is None else trial.evaluation,
        "extraction_seconds": None if trial is None else trial.extraction,
        "trial_seconds": None if trial is None else trial.whole,
        **({} if one.target is None else {"target": _target_data(one.target)}),
    }


def _target_data(target: TargetForecast) -> dict[str, Any]:
    time, trial = _there(target)
    return {
        "device_count": target.key.device_count,
        "fits": target.fits,
        "step_seconds": None if time is None else time.step_seconds,
        "trial_seconds": None if trial is None else trial.whole,
    }


def _device(forecast: StudyForecast) -> str:
    target = forecast.target
    place = target.placement
    words = [f"device: {_count(target)}, {place.backend}, {place.precision}"]
    if target.kind == "cpu":
        words[0] += f", {pluralized(target.cores, 'core')}"
    if target.memory is not None:
        words.append(f"{human_bytes(target.memory)} of memory")
        if target.usable_memory != target.memory:
            words[-1] += f", of which {place.backend} uses {human_bytes(target.usable_memory or 0)}"
    if forecast.final is not None:
        words.append(f"training time is that of the target, {_count(forecast.final)}")
    return "; ".join(words)


def _count(target: Target) -> str:
    """Number and name of the devices: ``8 x TPU v5 lite``."""
    place = target.placement
    number = f"{place.device_count} x " if place.device_count > 1 else ""
    return f"{number}{place.device_kind}"


def bucket_names(keys: Sequence[BucketKey]) -> list[str]:
    """A short name of each bucket, with the parts in which it differs from others."""
    differing = _differing(keys)
    return [key.label + (f" ({parts_text(key, differing)})" if differing else "") for key in keys]


def _differing(keys: Sequence[BucketKey]) -> list[str]:
    # A variant's own weights differ with the variant.
    hidden = _SHOWN | ({"weights"} if len({key.variant for key in keys}) > 1 else set())
    return [name for name in differing_parts(keys) if name not in hidden]


def _table(forecast: StudyForecast) -> Iterator[str]:
    differing = _differing([bucket.share.key for bucket in forecast.buckets])
    rows = [[*_COLUMNS, *([""] if differing else [])]]
    for one in forecast.buckets:
        key = one.share.key
        # Where they differ, the axis of time is that of the target.
        time, trial = (one.time, one.trial) if one.target is None else _there(one.target)
        rows.append(
            [
                key.network,
                str(key.batch),
                f"{100 * one.share.share:.0f} %",
                f"{one.work.parameters / _MEGA:.1f} M",
                f"{one.train_flops / _GIGA:.3f}",
                human_bytes(one.work.checkpoint_bytes),
                human_bytes(one.needed_memory) + ("" if one.fits or one.is_large else " !"),
                "" if time is None else milliseconds(time.step_seconds),
                "" if trial is None else human_seconds(trial.epoch),
                "" if trial is None else human_seconds(trial.whole),
                "" if time is None else time.source,
                *([parts_text(key, differing)] if differing else []),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        numbers = (text.rjust(width) for text, width in zip(row[:10], widths, strict=False))
        words = (text.ljust(width) for text, width in zip(row[10:], widths[10:], strict=True))
        yield "  ".join([*numbers, *words]).rstrip()


def _there(target: TargetForecast) -> tuple[StepTime | None, TrialSeconds | None]:
    return target.time, target.trial


def _about_memory(forecast: StudyForecast) -> Iterator[str]:
    for one in forecast.buckets:
        if one.fits:
            continue
        how = f"it is predicted to need {human_bytes(one.memory.total)}"
        if one.memory.limit is not None:
            how += f" of {human_bytes(one.memory.limit)}"
        if one.timed is not None:
            how = one.timed.reason
        elif one.compiled is not None:
            how = f"compiled, it needs {human_bytes(one.needed_memory)}"
            if one.memory.limit is not None:
                how += f" of {human_bytes(one.memory.limit)}"
        if one.is_large:
            yield (
                f"{one.share.key.label} does not fit a worker: {how}. Its trials run on the "
                "target, one after another, while no other worker does."
            )
            continue
        yield (
            f"! {one.share.key.label} does not fit: {how}. Its trials would be recorded as "
            f"infeasible; {one.alternatives}."
        )
    yield f"memory: {_memory_source(forecast)}"


def _memory_source(forecast: StudyForecast) -> str:
    whose = "the process's" if forecast.target.kind == "cpu" else "the device's"
    total = len(forecast.buckets)
    measured = sum(bool(o.timed is not None and o.timed.memory_bytes) for o in forecast.buckets)
    compiled = sum(one.compiled is not None for one in forecast.buckets)
    if measured == total:
        return f"{whose}, measured"
    if compiled == total:
        return f"{whose}, by its compiler, without the share of its runtime"
    known = {"measured": measured, "compiled": compiled}
    parts = [f", {how} for {count} of {total}" for how, count in known.items() if count]
    return (
        f"{whose}; predicted from the sizes of all layers (may be off by a third){''.join(parts)}"
    )


def would_fit(one: BucketForecast) -> dict[str, Any] | None:
    """What is estimated to fit in place of a bucket, for programs; None if that fits."""
    return None if one.alternatives is None else asdict(one.alternatives)


def compiled_data(compiled: CompiledForecast) -> dict[str, Any]:
    """What the compiler made of a bucket, for programs."""
    return {
        "fits": compiled.fits,
        "memory_bytes": compiled.memory,
        "train_flops": compiled.flops,
        "programs": [
            one.model_dump(mode="json") | {"memory_bytes": one.memory_bytes}
            for one in compiled.compilation.programs
        ],
    }


def _about_time(forecast: StudyForecast) -> Iterator[str]:
    kind = forecast.target.kind
    sources = Counter(one.time.origin for one in forecast.buckets if one.time is not None)
    if not sources:
        yield (
            f"time: no step time is known for {forecast.target.placement.device_kind}; measure "
            "some with --measure"
        )
        return
    found = "; ".join(f"{origin} ({number})" for origin, number in sources.items())
    yield f"time: {found}"
    if any(one.time is not None and one.time.source == "roofline" for one in forecast.buckets):
        yield (
            f"  a roofline is arithmetic on peak speeds, not a measurement: it "
            f"{roofline.EXPECTED_ERROR[kind]}; --measure times a few steps"
        )


def _about_disk(disk: DiskForecast, plan: StudyPlan, free: FreeSpace) -> Iterator[str]:
    trials = pluralized(disk.front, "trial")
    parts = [f"checkpoints of running trials {human_bytes(disk.checkpoints)}"]
    if disk.paused:
        parts.append(f"those of paused trials up to {human_bytes(disk.paused)}")
    if disk.front:
        about = "about " if plan.keep == "front" else ""
        parts.append(f"weights of {about}{trials} {human_bytes(disk.kept_weights)}")
    parts.append(f"database {human_bytes(disk.database)}")
    yield f"disk: up to {human_bytes(disk.out)} in the study's folder ({', '.join(parts)})"
    cached = [
        f"{name} {human_bytes(nbytes)}"
        for name, nbytes in (("features", disk.features), ("decoded images", disk.store))
        if nbytes
    ]
    if cached:
        yield f"  and {human_bytes(disk.cache)} in the cache ({', '.join(cached)})"
    available = f"{human_bytes(free.out)} are free"
    if not free.same_disk:
        available += f" there, {human_bytes(free.cache)} on the disk of the cache"
    yield f"  {available}"
    # The store is on disk already: the images have been loaded.
    needed = disk.out + (disk.features if free.same_disk else 0.0)
    if needed > free.out:
        missing = human_bytes(needed - free.out)
        yield f"! The disk is too small by {missing}: free space, or use --out."
    if not free.same_disk and disk.features > free.cache:
        missing = human_bytes(disk.features - free.cache)
        yield (
            f"! The disk of the cache is too small by {missing}: set EFFV2_TUNE_CACHE to a folder "
            "on another disk."
        )


def _about_cost(cost: StudyCost, forecast: StudyForecast, plan: StudyPlan) -> Iterator[str]:
    ended_by = {
        "trials": f"{pluralized(cost.trials, 'trial')}",
        "stop_when": f"{pluralized(cost.trials, 'trial')}, assumed (it ends when "
        "the Pareto front stops growing)",
        "hours": f"the budget of {pluralized(plan.hours or 0, 'hour')}, "
        f"about {pluralized(cost.trials, 'trial')}",
        "accelerator_hours": f"the budget of {plan.accelerator_hours} accelerator-hours, about "
        f"{pluralized(cost.trials, 'trial')}",
    }[cost.limited_by]
    yield (
        f"cost: {ended_by}: {_hours(cost.hours)} if every trial is trained to the end, in "
        f"{_sessions(cost.sessions, cost)}"
    )
    if cost.fewest_hours < cost.hours:
        yield (
            f"  {_hours(cost.fewest_hours)} if pruning stops every trial it is allowed to, in "
            f"{_sessions(cost.fewest_sessions, cost)}; the actual time is in between"
        )
    if cost.confirm_hours:
        yield f"  {_hours(cost.confirm_hours)} more at most, to confirm the picks with replicates"
    if cost.device_hours > cost.hours:
        yield f"  {cost.device_hours:.3g} device-hours"
    if cost.timing_hours:
        changes = round(cost.placement_changes)
        yield (
            f"  {_hours(cost.timing_hours)} of it to time the buckets on the target and to change "
            f"between the workers and it about {changes} times (assumed: 5 s and half a minute "
            "each)"
        )
    steps = "training steps and a validation pass after every epoch"
    if any(one.trial is not None and one.trial.extraction for one in forecast.buckets):
        steps += ", and each frozen backbone's pass over the images once"
    if cost.start_hours is None:
        buckets = pluralized(len(forecast.buckets), "bucket")
        yield (
            f"  counted: {steps}, for configs drawn evenly from the search space. Not counted: "
            f"compiling {buckets}, half a minute to minutes each, again in every session"
        )
    else:
        yield (
            f"  counted: {steps}, for configs drawn evenly from the search space; and compiling "
            f"every bucket once ({_hours(cost.start_hours)}), as every session does"
        )


def _sessions(number: int, cost: StudyCost) -> str:
    return f"{pluralized(number, 'session')} of {cost.session_hours:g} h"


def _hours(hours: float) -> str:
    return human_seconds(hours * _HOUR)


def milliseconds(seconds: float) -> str:
    """Milliseconds, three digits of them or all before the point: 0.512, 40.1, 12,300."""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - three digits
