"""What is looked at before anything is downloaded, trained or written."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune import catalog
from effv2_tune.errors import Mistake, MistakesError, TuneError
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.session.location import check_database, check_folder, database_exists, is_database
from effv2_tune.study.recipe import NATIVE
from effv2_tune.study.space import values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from effv2_tune.host import Hardware
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import DataSpec, Settings, Space, StudyPlan
    from effv2_tune.study.training_run import TrainingRun

#: Kinds of dataset that are read whole in a moment, and leave nothing behind.
_READ_AT_ONCE = ("digits", "npz")
#: What ``weights:`` may say beside a file.
_NAMED_WEIGHTS = ("none", NATIVE, *catalog.WEIGHT_SETS, catalog.KERAS_WEIGHTS)


def check_study(file: str | Path, plan: StudyPlan, *, base: Path, begun: bool = False) -> None:
    """Look at everything outside of a study file that it names.

    Args:
        file: The study file, for messages.
        plan: What it says.
        base: Folder that its relative paths start from.
        begun: Whether the study was begun before: it then holds the step times that it replays.

    Raises:
        MistakesError: With everything that is wrong, each at its line.
    """
    mistakes = _data_mistakes(file, plan.data, base)
    if plan.clock != "measured" and not begun:
        from effv2_tune.search.storage.recorded_times import recorded_study

        try:
            recorded_study(plan.clock, base=base)
        except TuneError as error:
            mistakes.append(Mistake(str(file), _line_of(file, "clock"), f"clock: {error.message}"))
    weights = _values(plan, "weights")
    mistakes += _mistakes_at(_place_of(file, plan, "weights", base), _absent(weights, base))
    beyond = _beyond_the_last_stage(_networks(plan))
    mistakes += _mistakes_at(_place_of(file, plan, "finetune_from", base), beyond)
    if mistakes:
        raise MistakesError(mistakes)


def check_training(file: str | Path, run: TrainingRun, *, base: Path) -> None:
    """Look at everything outside of a training run's file that it names.

    Args:
        file: That file, for messages.
        run: What it says.
        base: Folder that its relative paths start from.

    Raises:
        MistakesError: With everything that is wrong, each at its line.
    """
    mistakes = _data_mistakes(file, run.data, base)
    for name, sentences in (
        ("weights", _absent([run.recipe.weights], base)),
        ("finetune_from", _beyond_the_last_stage([run.recipe])),
    ):
        place = (str(file), _line_of(file, "recipe", name))
        mistakes += _mistakes_at(place, sentences)
    if mistakes:
        raise MistakesError(mistakes)


def _data_mistakes(file: str | Path, data: DataSpec, base: Path) -> list[Mistake]:
    from effv2_tune.data import check_dataset

    place = (str(file), _line_of(file, "data", "path"))
    return _mistakes_at(place, (f"data: {one}" for one in check_dataset(data, base=base)))


def _mistakes_at(place: tuple[str, int], sentences: Iterable[str]) -> list[Mistake]:
    return [Mistake(*place, sentence) for sentence in sentences]


def _place_of(file: str | Path, plan: StudyPlan, name: str, base: Path) -> tuple[str, int]:
    """File and line of a setting: in the recipe, or in the space, which may have its own file."""
    if name not in plan.search_space.parameters:
        return str(file), _line_of(file, "recipe", name)
    from effv2_tune.study.shipped import shipped_spaces
    from effv2_tune.study.yaml_file import read_yaml

    written = read_yaml(Path(file)).data["search_space"] if Path(file).is_file() else {}
    if isinstance(written, str):
        space = shipped_spaces().get(written, base / written)
        return str(space), _line_of(space, name)
    return str(file), _line_of(file, "search_space", name)


def _values(plan: StudyPlan, name: str) -> list[Any]:
    """What a setting may be in a trial of the study."""
    parameter = plan.search_space.parameters.get(name)
    return [getattr(plan.recipe, name)] if parameter is None else list(values_of(parameter))


def _absent(weights: Iterable[str], base: Path) -> Iterator[str]:
    """A sentence about each weight file that is not there."""
    for written in weights:
        if written in _NAMED_WEIGHTS:
            continue
        path = base / Path(written).expanduser()
        if not path.is_file():
            yield (
                f"weights: there is no file {path}; name one that is there, or a released set "
                f"({', '.join(catalog.WEIGHT_SETS)})"
            )


def _networks(plan: StudyPlan) -> Iterator[Settings]:
    """Every network, backbone and first stage that a trial may combine; other settings apart."""
    space = plan.search_space
    names = _with_parents(space, ("variant", "backbone", "finetune_from"))
    choices = [list(values_of(space.parameters[name])) for name in names]
    for values in itertools.product(*choices):
        config = space.decode(dict(zip(names, values, strict=True)))
        yield plan.recipe.model_copy(update=config)


def _with_parents(space: Space, names: Iterable[str]) -> list[str]:
    """Those of the parameters that the space has, and all whose values bring these to life."""
    found: list[str] = []
    waiting = [name for name in names if name in space.parameters]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += space.parameters[name].when or {}
    return found


def _beyond_the_last_stage(networks: Iterable[Settings]) -> list[str]:
    """A sentence about each first stage that is trained where the network has none of that number.

    The last convolution and the classifier count as the stage after the variant's own.
    """
    found: dict[tuple[int, int], dict[str, None]] = {}
    for one in networks:
        last = len(catalog.find_variant(one.variant).stages)
        if one.backbone == "finetune" and one.finetune_from > last:
            found.setdefault((one.finetune_from, last), {})[one.variant] = None
    return [
        f"finetune_from: there is no stage {stage} in {', '.join(variants)}; give 0 (everything) "
        f"to {last} (the last convolution and the classifier)"
        for (stage, last), variants in found.items()
    ]


def _line_of(file: str | Path, *keys: str) -> int:
    from effv2_tune.study.yaml_file import read_yaml

    return read_yaml(Path(file)).line_of(list(keys)) if Path(file).is_file() else 0


def look_at_images(data: DataSpec, *, base: Path, batch: int) -> str:
    """What the images are, as far as nothing need be downloaded, decoded or written for it.

    Args:
        data: Which images.
        base: Folder that relative paths start from.
        batch: The largest batch that is trained with.

    Raises:
        TuneError: They cannot be used, or are fewer than a batch.
    """
    from effv2_tune.data import load_dataset

    named = data.name if data.path is None else f"{data.name} {data.path}"
    if data.name not in _READ_AT_ONCE:
        return f"{named}; its images are read when the study starts"
    facts = load_dataset(data, base=base).facts()
    if batch > facts.train:
        raise TuneError(
            f"A batch of {batch} images cannot be filled from {facts.train} training images.",
            hint=f"Write 'batch_size: {facts.train}' at most.",
        )
    return (
        f"{named}: {facts.train:,} images to train, {facts.validation:,} to validate, "
        f"{facts.test:,} to test; {facts.classes} classes"
    )


def choose_device(plan: StudyPlan) -> Hardware:
    """The device and backend that the study's workers use on this machine.

    Raises:
        TuneError: The device that the study means cannot be used, or cannot feed so many workers.
    """
    chosen = choose_hardware(plan.hardware, plan.backend, probe_host(), probe_packages())
    if chosen.kind == "tpu" and plan.workers > 1:
        raise TuneError(
            f"The study asks for {plan.workers} workers, and one process owns all TPU chips of a "
            "machine: a second one would find none.",
            hint="Write 'workers: 1'; it trains on all chips at once.",
        )
    if chosen.kind != "cpu" and plan.workers > chosen.devices:
        raise TuneError(
            f"The study asks for {plan.workers} workers, and this machine has "
            f"{chosen.devices} {chosen.kind.upper()}s: they would fight for memory.",
            hint=f"Write 'workers: {chosen.devices}' at most.",
        )
    processors = len(os.sched_getaffinity(0))
    if chosen.kind == "cpu" and plan.workers > processors:
        raise TuneError(
            f"The study asks for {plan.workers} workers, and this machine has {processors} "
            "processors: they would wait for each other while they are timed.",
            hint=f"Write 'workers: {processors}' at most.",
        )
    return chosen


def check_storage(out: Path, storage: str | None) -> None:
    """Look whether a study can be kept where it is meant to be; writes nothing.

    Raises:
        TuneError: The folder cannot be written to, or the URL names no database.
    """
    check_folder(out)
    if storage is not None:
        check_database(storage)


def earlier_runs(plan: StudyPlan, place: str | Path) -> StudyRecord | None:
    """What earlier runs of the study have left; None where it is new. Writes nothing.

    Args:
        plan: The study.
        place: Its folder, or a database URL that :func:`check_storage` has passed.

    Raises:
        TuneError: Another study lies there, or this one with a plan that does not go with
            ``plan``; or the database cannot be read.
    """
    from effv2_tune.search.storage.snapshot import DATABASE, read_study
    from effv2_tune.study.changes import forbidden_changes

    if is_database(place):
        if not _knows(str(place), plan.name):
            return None
        record = read_study(str(place), name=plan.name)
    elif not (Path(place) / DATABASE).is_file():
        return None
    else:
        record = read_study(place)
    if record.plan.name != plan.name:
        raise TuneError(
            f"{place} holds another study, {record.plan.name}.",
            hint=f"Give {plan.name} a folder of its own: --out.",
        )
    forbidden = forbidden_changes(record.plan, plan)
    if forbidden:
        listed = "".join(f"\n  {line}" for line in forbidden)
        raise TuneError(
            f"{place} holds study {plan.name} with another plan, under which its trials would "
            f"mean something else:{listed}",
            hint="Put the old values back, or begin a new study: --out another-folder.",
        )
    return record


def _knows(url: str, name: str) -> bool:
    """Whether a database holds a study of that name."""
    import sqlalchemy as sa

    from effv2_tune.search.storage.records import find_studies
    from effv2_tune.session.location import shown

    if not database_exists(url):
        return False
    engine = sa.create_engine(url)
    try:
        return sa.inspect(engine).has_table("studies") and name in find_studies(engine)
    except sa.exc.SQLAlchemyError as error:
        raise TuneError(
            f"The database {shown(url)} cannot be read: {str(error).splitlines()[0]}",
            hint="Check its address, and that it runs.",
        ) from error
    finally:
        engine.dispose()
