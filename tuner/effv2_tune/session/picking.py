"""Picks a trial of the Pareto front, and makes a training run of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune import pareto
from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.report.analysis import analyse
from effv2_tune.report.quantities import human_seconds, label_of
from effv2_tune.session.report_input import report_input
from effv2_tune.study.recipe import WEIGHT_SUFFIXES
from effv2_tune.study.training_run import Provenance, TrainingRun

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import Measurement, Recipe, Trial

_CHOOSE = {
    "knee": pareto.knee,
    "most-accurate": pareto.most_accurate,
    "fastest": pareto.fastest,
}
PICKS = tuple(_CHOOSE)
_BY_NUMBER = "trial="
_LONGEST_NAME = 80


def pick_trial(
    record: StudyRecord,
    pick: str,
    *,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    device: str | None = None,
) -> Trial:
    """The trial of the Pareto front that ``pick`` names.

    Training times on different devices are not comparable: only trials of one device kind are
    considered.

    Args:
        record: The study.
        pick: ``knee``, ``most-accurate``, ``fastest`` or ``trial=N``.
        max_seconds: Only trials that train for at most so long.
        min_quality: Only trials of at least this quality (for a loss: at most).
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
    if by_number and not (max_seconds is None and min_quality is None and device is None):
        raise TuneError(
            f"--pick {pick} names one trial and cannot be combined with limits.",
            hint="Omit --max-seconds, --min-quality and --device; or pick knee.",
        )
    complete = {t.number: t for t in record.trials if t.state == "complete"}
    if not complete:
        raise TuneError(
            f"Study {record.plan.name} has no complete trial yet.",
            hint="Rerun the same 'effv2-tune run' command to resume it, with more --trials if its "
            "budget is spent.",
        )
    if by_number:
        return _trial(pick.removeprefix(_BY_NUMBER), complete, record)
    trials = _device(record, device).complete
    points = [trial.measurement for trial in trials if trial.measurement is not None]
    objective = pareto.Objective(record.plan.directions[0])
    kept = pareto.within(points, objective, max_seconds=max_seconds, min_quality=min_quality)
    chosen = _CHOOSE[pick]([points[position] for position in kept], objective)
    if chosen is None:
        raise TuneError(
            "No complete trial is within these limits.",
            hint=_extremes(points, record),
        )
    return trials[kept[chosen]]


def to_training_run(record: StudyRecord, trial: Trial, *, pick: str) -> TrainingRun:
    """The final training of a trial, with its provenance.

    Raises:
        TuneError: The trial is not complete.
    """
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
    if trial.bucket is not None:
        settings["batch_size"] = trial.bucket.batch
    settings["weights"] = _weights(trial.recipe, record.base)
    data = trial.recipe.data
    if data.path is not None:
        path = str((record.base / Path(data.path)).resolve())
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
                pick=pick,
                validation=trial.scores,
                validation_count=record.data.scored,
                train_seconds=trial.measurement.train_seconds,
                seconds_low=trial.measurement.seconds_low,
                seconds_high=trial.measurement.seconds_high,
                environment=trial.environment,
                data_digest=record.data.digest,
            ).model_dump(mode="json"),
        }
    )


def _device(record: StudyRecord, wanted: str | None) -> DeviceAnalysis:
    """The device kind to pick on; the only one unless the user names one."""
    kinds = {
        kind.device: kind
        for kind in analyse(report_input(record, folder="")).devices
        if kind.complete
    }
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
        f"{label_of(record.plan.quality)} {best:.4f}."
    )


def _weights(recipe: Recipe, base: Path) -> str:
    """The recipe's weights; a file by its whole path, as the run may be written anywhere."""
    if not recipe.weights.endswith(WEIGHT_SUFFIXES):
        return recipe.weights
    return str((base / Path(recipe.weights).expanduser()).resolve())


def _trial(number: str, complete: dict[int, Trial], record: StudyRecord) -> Trial:
    if number.isdigit() and int(number) in complete:
        return complete[int(number)]
    states = {str(trial.number): trial.state for trial in record.trials}
    found = f"is {states[number]}" if number in states else "does not exist"
    raise TuneError(
        f"Trial {number} {found}; only a complete trial can be exported.",
        hint=f"Complete are: {', '.join(map(str, sorted(complete)))}",
    )
