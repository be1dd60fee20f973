"""Picks a trial of the Pareto front, and makes a training run of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune import pareto
from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.files.copied_folder import is_remote
from effv2_tune.report.analysis import analyse, device_of, pixels_of, variant_of
from effv2_tune.report.picks import PICKS, Pick, choose, options_of
from effv2_tune.report.quantities import human_seconds, label_of
from effv2_tune.session.report_input import report_input
from effv2_tune.study.recipe import NATIVE, WEIGHT_SUFFIXES
from effv2_tune.study.training_run import FrontPoint, Provenance, TrainingRun

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.report.picks import Option
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import Measurement, Recipe, Trial

_BY_NUMBER = "trial="
_LONGEST_NAME = 80


def pick_trial(
    record: StudyRecord,
    pick: str,
    *,
    robust: bool = False,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    device: str | None = None,
) -> Pick:
    """The trial of the Pareto front that ``pick`` names, by the estimates of all qualities.

    Training times on different devices are not comparable: only trials of one device kind are
    considered.

    Args:
        record: The study.
        pick: ``knee``, ``most-accurate``, ``fastest`` or ``trial=N``.
        robust: Decide by the worse end of the 90 % intervals instead of the estimates.
        max_seconds: Only trials that train for at most so long.
        min_quality: Only trials of at least this estimate (for a loss: at most).
        device: On which kind of device, as the report calls it; may be left out where trials are
            complete on one kind alone.

    Raises:
        TuneError: There is no such point.
    """
    by_number = pick.startswith(_BY_NUMBER)
    if pick not in PICKS and not by_number:
        raise TuneError(
            f"--pick {pick!r} is unknown{did_you_mean(pick, PICKS) or '.'}",
            hint=f"Use {', '.join(PICKS)} or trial=N; knee is the usual choice.",
        )
    if by_number and (
        robust or not (max_seconds is None and min_quality is None and device is None)
    ):
        raise TuneError(
            f"--pick {pick} names one trial and cannot be combined with limits.",
            hint="Omit --max-seconds, --min-quality, --robust and --device; or pick knee.",
        )
    complete = {
        trial.number: trial
        for trial in record.trials
        if trial.state == "complete" and trial.replicate_of is None
    }
    if not complete:
        raise TuneError(
            f"Study {record.plan.name} has no complete trial yet.",
            hint="Rerun the same 'effv2-tune run' command to resume it, with more --trials if its "
            "budget is spent.",
        )
    quality, objective = record.plan.quality, pareto.Objective(record.plan.directions[0])
    if by_number:
        trial = _trial(pick.removeprefix(_BY_NUMBER), complete, record)
        options = _options(record, device_of(trial))
        option = next(option for option in options if option.trial.config == trial.config)
        return Pick(replace(option, trial=trial), pick, quality, compared=len(options))
    options = _options(record, device)
    chosen = choose(
        pick,
        options,
        quality,
        objective,
        robust=robust,
        max_seconds=max_seconds,
        min_quality=min_quality,
    )
    if chosen is None:
        raise TuneError(
            "No complete trial is within these limits.",
            hint=_extremes([one.measurement(objective, robust=robust) for one in options], record),
        )
    return chosen


def to_training_run(record: StudyRecord, pick: Pick) -> TrainingRun:
    """The final training of a picked trial, with its provenance.

    Raises:
        TuneError: The trial is not complete.
    """
    trial = pick.trial
    if (
        trial.recipe is None
        or trial.scores is None
        or trial.measurement is None
        or trial.environment is None
        or record.data is None
    ):
        raise TuneError(f"Trial {trial.number} is not complete.", hint="Pick another.")
    settings = trial.recipe.model_dump(mode="json", exclude={"data", "quality"})
    settings["resolution"] = trial.recipe.pixels
    if trial.recipe.evaluation_resolution == NATIVE:
        settings["evaluation_resolution"] = trial.recipe.evaluation_pixels
    environment = trial.environment
    if trial.bucket is not None:
        settings["batch_size"] = trial.bucket.batch
        # Training time is that of the target.
        where = {name: getattr(trial.bucket, name) for name in ("device_kind", "device_count")}
        environment = environment.model_copy(update=where)
    settings["weights"] = _weights(trial.recipe, record.base)
    data = trial.recipe.data
    if data.path is not None:
        path = data.path
        if not is_remote(path):
            path = str((record.base / Path(path)).resolve())
        # Stored at another size, the images would be other images.
        size = record.data.image_shape[0] if data.name in ("folder", "csv") else data.storage_size
        data = data.model_copy(update={"path": path, "storage_size": size})
    ending = f"-trial-{trial.number}"
    return TrainingRun.from_plain(
        {
            "name": record.plan.name[: _LONGEST_NAME - len(ending)] + ending,
            "data": data.model_dump(mode="json"),
            "recipe": settings,
            "quality": record.plan.quality,
            "hardware": record.plan.hardware,
            "backend": trial.environment.backend,
            "provenance": Provenance(
                study=record.plan.name,
                trial=trial.number,
                pick=pick.rule,
                validation=trial.scores,
                validation_count=record.data.scored,
                train_seconds=trial.measurement.train_seconds,
                seconds_low=trial.measurement.seconds_low,
                seconds_high=trial.measurement.seconds_high,
                environment=environment,
                data_digest=record.data.digest,
                promise=pick.promise(),
                front=_front(record, device_of(trial)),
                learning_rates=(
                    None if record.learning_rates is None else record.learning_rates.bounds
                ),
            ).model_dump(mode="json"),
        }
    )


def _front(record: StudyRecord, device: str | None) -> tuple[FrontPoint, ...]:
    """The Pareto front on one kind of device."""
    trials = {trial.number: trial for trial in record.trials}
    points = (trials[number] for number in record.front())
    return tuple(
        FrontPoint(
            trial=trial.number,
            variant=variant_of(trial),
            resolution=pixels_of(trial),
            quality=trial.measurement.quality,
            train_seconds=trial.measurement.train_seconds,
        )
        for trial in points
        if trial.measurement is not None and device_of(trial) == device
    )


def _options(record: StudyRecord, wanted: str | None) -> list[Option]:
    """The complete trials on one device kind; on the only one unless the user names one."""
    kind = _kind(record, wanted)
    if not kind.candidates:
        raise TuneError(
            f"Study {record.plan.name} has not recorded its number of validation images.",
            hint="Rerun the same 'effv2-tune run' command: it records them.",
        )
    return options_of(kind)


def _kind(record: StudyRecord, wanted: str | None) -> DeviceAnalysis:
    analysis = analyse(report_input(record, folder=""))
    kinds = {kind.device: kind for kind in analysis.devices if kind.complete}
    if wanted is None and len(kinds) == 1:
        return next(iter(kinds.values()))
    names = ", ".join(repr(name) for name in kinds)
    if wanted is None:
        raise TuneError(
            f"Study {record.plan.name} has complete trials on {len(kinds)} device kinds, whose "
            f"training times are not comparable: {names}.",
            hint=f"Choose the one that you will train on: --device {next(iter(kinds))!r}",
        )
    if wanted not in kinds:
        raise TuneError(
            f"No trial is complete on device {wanted!r}{did_you_mean(wanted, kinds) or '.'}",
            hint=f"Trials are complete on: {names}.",
        )
    return kinds[wanted]


def _extremes(points: list[Measurement], record: StudyRecord) -> str:
    quickest = min(point.train_seconds for point in points)
    pick = min if record.plan.directions[0] == "minimize" else max
    best = pick(point.quality for point in points)
    return (
        f"The fastest takes {human_seconds(quickest)} ({quickest:.4g} seconds), and the best has "
        f"an expected {label_of(record.plan.quality)} of {best:.4f}."
    )


def _weights(recipe: Recipe, base: Path) -> str:
    """The recipe's weights; a file by its whole path, as the run may be written anywhere."""
    if not recipe.weights.endswith(WEIGHT_SUFFIXES):
        return recipe.weights
    return str((base / Path(recipe.weights).expanduser()).resolve())


def _trial(number: str, complete: dict[int, Trial], record: StudyRecord) -> Trial:
    if number.isdigit() and int(number) in complete:
        return complete[int(number)]
    found = {
        str(trial.number): f"is {trial.state}"
        if trial.replicate_of is None
        else f"is a replicate of trial {trial.replicate_of}"
        for trial in record.trials
    }
    raise TuneError(
        f"Trial {number} {found.get(number, 'does not exist')}; only a complete trial of the "
        "search can be exported.",
        hint=f"Complete are: {', '.join(map(str, sorted(complete)))}",
    )
