"""Checks a study or a training run before anything is downloaded, trained or written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune import catalog
from effv2_tune.errors import EXIT_FAILED, MistakesError, TuneError
from effv2_tune.session.location import (
    check_database,
    check_file_system,
    check_folder,
    database_exists,
    folder_of_database,
    is_database,
    shown,
)
from effv2_tune.study.recipe import NATIVE
from effv2_tune.study.space import combinations, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from effv2_tune.errors import Mistake
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import DataSpec, LoadedPlan, Settings, Space, StudyPlan
    from effv2_tune.study.training_run import LoadedTrainingRun
    from effv2_tune.study.yaml_file import YamlFile

#: Values of ``weights:`` that are not files.
_NAMED_WEIGHTS = ("none", NATIVE, *catalog.WEIGHT_SETS, catalog.KERAS_WEIGHTS)


def check_study(loaded: LoadedPlan, *, begun: bool = False) -> None:
    """Check everything outside of a study file that it names.

    Args:
        loaded: The study file.
        begun: Whether the study was begun before: it then has the step times that it replays.

    Raises:
        MistakesError: With everything that is wrong, each at its line.
    """
    plan, base = loaded.plan, loaded.base
    try:  # before anything outside of the file is read
        names = ("variant", "backbone", "finetune_from")
        stages = _beyond_the_last_stage(possible_settings(plan, names))
    except TuneError as error:
        mistake = loaded.source.mistake(["search_space"], error.message)
        raise MistakesError([mistake]) from None
    mistakes = _data_mistakes(loaded.source, plan.data, base)
    if plan.clock != "measured" and not begun:
        from effv2_tune.search.storage.recorded_times import recorded_study

        try:
            recorded_study(plan.clock, base=base)
        except TuneError as error:
            mistakes.append(loaded.source.mistake(["clock"], f"clock: {error.message}"))
    mistakes += loaded.mistakes_at("weights", _absent(_possible_values(plan, "weights"), base))
    mistakes += loaded.mistakes_at("finetune_from", stages)
    if mistakes:
        raise MistakesError(mistakes)


def check_training(loaded: LoadedTrainingRun) -> None:
    """Check everything outside of a training run's file that it names.

    Raises:
        MistakesError: With everything that is wrong, each at its line.
    """
    source, run = loaded.source, loaded.run
    mistakes = _data_mistakes(source, run.data, loaded.base)
    for name, messages in (
        ("weights", _absent([run.recipe.weights], loaded.base)),
        ("finetune_from", _beyond_the_last_stage([run.recipe])),
    ):
        mistakes += [source.mistake(["recipe", name], message) for message in messages]
    if mistakes:
        raise MistakesError(mistakes)


def _data_mistakes(source: YamlFile, data: DataSpec, base: Path) -> list[Mistake]:
    from effv2_tune.data import check_dataset

    messages = check_dataset(data, base=base)
    return [source.mistake(["data", "path"], f"data: {message}") for message in messages]


def _possible_values(plan: StudyPlan, name: str) -> list[Any]:
    """The values that a setting may have in a trial of the study."""
    parameter = plan.search_space.parameters.get(name)
    return [getattr(plan.recipe, name)] if parameter is None else list(values_of(parameter))


def _absent(weights: Iterable[str], base: Path) -> Iterator[str]:
    """A message about each weight file that does not exist."""
    for written in weights:
        if written in _NAMED_WEIGHTS:
            continue
        path = base / Path(written).expanduser()
        if not path.is_file():
            yield (
                f"weights: there is no file {path}; name an existing one, or a released set "
                f"({', '.join(catalog.WEIGHT_SETS)})"
            )


def possible_settings(plan: StudyPlan, names: Iterable[str]) -> Iterator[Settings]:
    """Every combination of some settings that a trial may have; all others are the recipe's.

    Args:
        plan: The study.
        names: Of settings that are choices or whole numbers.
    """
    space = plan.search_space
    searched = _with_parents(space, names)
    values = {name: list(values_of(space.parameters[name])) for name in searched}
    for combination in combinations(values):
        yield plan.recipe.model_copy(update=space.decode(combination))


def _with_parents(space: Space, names: Iterable[str]) -> list[str]:
    """Those of the parameters that the space has, and all that activate them."""
    found: list[str] = []
    waiting = [name for name in names if name in space.parameters]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += space.parameters[name].when or {}
    return found


def _beyond_the_last_stage(networks: Iterable[Settings]) -> list[str]:
    """A message about each first trained stage that the network does not have.

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


def check_storage(out: Path, storage: str | None) -> None:
    """Check that a study can be stored in its folder or database; writes nothing.

    Raises:
        TuneError: The folder cannot be written to, or the URL names no database; SQLite would be
            on a network or FUSE file system; or the folder's database is lost and has a backup.
    """
    from effv2_tune.search.storage.backup import refuse_lost_database

    check_folder(out)
    if storage is None:
        folder: Path | None = out
        refuse_lost_database(out)
    else:
        check_database(storage)
        folder = folder_of_database(storage)
    if folder is not None:
        check_file_system(folder)


def earlier_runs(plan: StudyPlan, place: str | Path) -> tuple[StudyRecord, list[str]] | None:
    """The record of the study's earlier runs, and the changes of its plan since; writes nothing.

    Args:
        plan: The study.
        place: Its folder, or a database URL that :func:`check_storage` accepts.

    Returns:
        None where the study is new.

    Raises:
        TuneError: Another study is there, or this one with a plan that cannot be changed to
            ``plan``; or the database cannot be read.
    """
    from effv2_tune.search.storage.backup import has_study
    from effv2_tune.search.storage.snapshot import read_study
    from effv2_tune.study.continuation import changes_since, with_workers_of

    if is_database(place):
        if not _knows(str(place), plan.name):
            return None
        record = read_study(str(place), name=plan.name)
    elif not has_study(Path(place)):
        return None
    else:
        record = read_study(place)
    plan = with_workers_of(record.plan, plan)
    return record, changes_since(record.plan, plan, location=shown(place))


def _knows(url: str, name: str) -> bool:
    """Whether a database holds a study of that name."""
    import sqlalchemy as sa

    from effv2_tune.search.storage.records import connected, find_studies

    if not database_exists(url):
        return False
    try:
        with connected(url) as engine:
            return sa.inspect(engine).has_table("studies") and name in find_studies(engine)
    except sa.exc.SQLAlchemyError as error:
        raise TuneError(
            f"The database {shown(url)} cannot be read: {str(error).splitlines()[0]}",
            hint="Check its address, and that it is running.",
            exit_code=EXIT_FAILED,
        ) from error
