"""The study: what is searched, on what, with which budget."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from effv2_tune import catalog
from effv2_tune.errors import Mistake, MistakesError, TuneError, did_you_mean
from effv2_tune.study.base import Value
from effv2_tune.study.mistakes import mistakes_of
from effv2_tune.study.recipe import (
    DataSpec,
    Quality,
    Recipe,
    Settings,
    contradictions,
    image_changes,
    quality_direction,
)
from effv2_tune.study.shipped import shipped_spaces, shipped_studies
from effv2_tune.study.space import (
    ChoiceParameter,
    Config,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Space,
    values_of,
)
from effv2_tune.study.yaml_file import YamlFile, dump_yaml, parse_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.space import Parameter

Direction = Literal["maximize", "minimize"]

#: The settings that a space may vary: each is a number or a choice.
SEARCHABLE = tuple(Settings.model_fields)


class HalvingSpec(Value):
    """When a trial is stopped because others do better.

    Attributes:
        enabled: Whether trials are stopped at all.
        rungs: Where trials are compared, as fractions of a trial's own epochs.
        keep: A trial goes on while at most this share of the trials seen at the rung rank better.
        guard_after: Full learning curves after which a trial whose optimistic final quality would
            not be dominated is never stopped.
        quantile: Of the gains seen between rung and end, taken as the optimistic one.
    """

    enabled: bool = True
    rungs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.1, 0.22, 0.4)
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.25
    guard_after: Annotated[int, Field(ge=1)] = 8
    quantile: Annotated[float, Field(gt=0, le=1)] = 0.9


class SearchSpec(Value):
    """How the next config is found.

    Attributes:
        engine: The sampler: Optuna's by name, or an oracle of Keras Tuner's.
        seed: Of the sampler; with one worker the same seed asks for the same configs.
        halving: When a trial is stopped early.
    """

    engine: Literal[
        "tpe",
        "random",
        "nsga2",
        "qmc",
        "grid",
        "gp",
        "keras_tuner_random",
        "keras_tuner_bayesian",
    ] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    halving: HalvingSpec = HalvingSpec()


class StopSpec(Value):
    """End the study when it has stopped getting better.

    Attributes:
        growth: Relative growth of the hypervolume below which nothing is gained.
        trials: Over so many told trials.
    """

    growth: Annotated[float, Field(gt=0, lt=1)] = 0.01
    trials: Annotated[int, Field(ge=1)] = 20


class RecordedClock(Value):
    """Step times are not measured but replayed, so that a whole run can be repeated.

    Attributes:
        recorded: Folder of the study that measured them; relative to the study file.
    """

    recorded: Annotated[str, Field(min_length=1)]


class StudyPlan(Value):
    """A study file, read and checked.

    Attributes:
        name: What the study is called; its folder is ``runs/<name>`` unless told otherwise.
        data: Which images, and how they are split.
        recipe: Every setting that is not searched.
        search_space: What is searched.
        quality: What is traded against time.
        trials: How many trials in all, over every time that the study is run; null for no limit.
        hours: How many hours of running in all; null for no limit.
        accelerator_hours: How many hours of holding devices in all: those of a worker times its
            devices, over all workers and machines; null for no limit.
        workers: Worker processes on this machine; on a CPU they share its processors evenly, and
            times are those of such a share.
        search: How the next config is found.
        enqueue: Configs to be tried first.
        stop_when: End when the front has stopped growing; null for never.
        hardware: The kind of device that must be used; ``auto`` takes the best of the host.
        backend: The Keras backend; ``auto`` is TensorFlow on CPU, JAX on TPU and where it is
            installed with GPU support.
        keep: Whose selected weights stay on disk after a trial.
        clock: Where the step times come from that training seconds are computed with: ``measured``
            here, once for each bucket, or ``{recorded: FOLDER}`` of an earlier study.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    data: DataSpec = DataSpec()
    recipe: Settings = Settings()
    search_space: Space
    quality: Quality = "accuracy"
    trials: Annotated[int, Field(ge=1)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    accelerator_hours: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=1)] = 1
    search: SearchSpec = SearchSpec()
    enqueue: tuple[Config, ...] = ()
    stop_when: StopSpec | None = None
    hardware: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    backend: Literal["auto", "tensorflow", "jax"] = "auto"
    keep: Literal["front", "all", "none"] = "front"
    clock: Literal["measured"] | RecordedClock = "measured"

    @model_validator(mode="after")
    def _ends(self) -> StudyPlan:
        limits = (self.trials, self.hours, self.accelerator_hours, self.stop_when)
        if all(limit is None for limit in limits):
            raise ValueError(
                "the study would never end: set 'trials:', 'hours:', 'accelerator_hours:' or "
                "'stop_when:' (or several)"
            )
        return self

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Which way is better, for quality and for seconds."""
        return quality_direction(self.quality), "minimize"

    @property
    def largest_resolution(self) -> int:
        """The side in pixels of the largest images that a trial may see."""
        parameter = self.search_space.parameters.get("resolution")
        sizes = [self.recipe.resolution] if parameter is None else list(values_of(parameter))
        if "native" not in sizes:
            return max(int(size) for size in sizes)
        networks = self.search_space.parameters.get("variant")
        names = [self.recipe.variant] if networks is None else list(values_of(networks))
        native = [catalog.find_variant(str(name)).native_resolution for name in names]
        return max([int(size) for size in sizes if size != "native"] + native)

    def recipe_for(self, config: Mapping[str, Any]) -> Recipe:
        """The recipe of ``config``: its values over the study's settings.

        Raises:
            pydantic.ValidationError: A value is not one that a recipe takes.
        """
        settings = self.recipe.model_dump(exclude_unset=True) | dict(config)
        everything = settings | {"data": self.data.model_dump(), "quality": self.quality}
        return Recipe.model_validate_json(json.dumps(everything))


def load_plan(
    study: str | Path, *, overrides: Mapping[str, Any] | None = None
) -> tuple[StudyPlan, Path]:
    """Read a study file, or a shipped study by its name.

    Args:
        study: Path of a YAML file, or a name that ``effv2-tune studies`` lists.
        overrides: Values that take the place of top-level keys (from command-line options).

    Returns:
        The plan, and the folder that its relative paths start from.

    Raises:
        MistakesError: With everything that is wrong, in the study file and in its space.
        TuneError: There is no such file.
    """
    path = _find_study(study)
    source = read_yaml(path, name=str(study) if Path(study).is_file() else str(path))
    return parse_plan(source, base=path.parent, overrides=overrides), path.parent.resolve()


def parse_plan(
    source: YamlFile, *, base: Path, overrides: Mapping[str, Any] | None = None
) -> StudyPlan:
    """The plan that ``source`` describes; see :func:`load_plan`."""
    data = source.data | {k: v for k, v in (overrides or {}).items() if v is not None}
    mistakes: list[Mistake] = []
    space_source, space_path, space_data = _space_data(source, data, base, mistakes)
    plan = None
    try:
        plan = StudyPlan.model_validate_json(json.dumps(data | {"search_space": _ANY_SPACE}))
    except ValidationError as error:
        mistakes += mistakes_of(error, source, StudyPlan)
    space = None
    if space_source is not None:
        found, space = _read_space(space_source, space_path, space_data)
        mistakes += found
    if space is not None:
        mistakes += _mistakes_between(source, data, space)
    if mistakes or plan is None or space is None:
        raise MistakesError(mistakes)
    plan = StudyPlan.model_validate_json(json.dumps(data | {"search_space": space_data}))
    found = _mistakes_in_combinations(plan, source)
    if found:
        raise MistakesError(found)
    return plan


# Stands in for the space while the rest of the file is checked: the space has lines of its own.
_ANY_SPACE: dict[str, Any] = {}


def _find_study(study: str | Path) -> Path:
    path = Path(study)
    if path.is_file():
        return path
    shipped = shipped_studies()
    name = path.name.removesuffix(".yaml")
    if name in shipped and (str(study) == name or not path.parent.is_dir()):
        return shipped[name]
    if str(study) in shipped:
        return shipped[str(study)]
    close = did_you_mean(str(study), shipped)
    raise TuneError(
        f"There is no study file {str(study)!r}{close}.",
        hint=f"Shipped studies: {', '.join(shipped)}. Your own: effv2-tune init",
    )


def _space_data(
    source: YamlFile, data: Mapping[str, Any], base: Path, mistakes: list[Mistake]
) -> tuple[YamlFile | None, tuple[str, ...], dict[str, Any]]:
    """Where the space is written, under which key there, and what it says."""
    given = data.get("search_space")
    if isinstance(given, dict) and given:
        return source, ("search_space",), given
    if isinstance(given, str):
        shipped = shipped_spaces()
        path = shipped.get(given, base / given)
        if path.is_file():
            try:
                space = read_yaml(path)
            except MistakesError as error:
                mistakes += error.mistakes
                return None, (), {}
            return space, (), space.data
        sentence = (
            f"search_space: there is no space {given!r}{did_you_mean(given, shipped)}; shipped "
            f"are {', '.join(shipped)}; or name a file, or write one here"
        )
    else:
        sentence = (
            "search_space is missing: name a shipped space (effv2-tune spaces), a path, "
            "or write one here"
        )
    mistakes.append(Mistake(source.name, source.line_of(["search_space"]), sentence))
    return None, (), {}


def _read_space(
    source: YamlFile, under: tuple[str, ...], data: Mapping[str, Any]
) -> tuple[list[Mistake], Space | None]:
    """The space, or everything that is wrong with its parameters, each looked at by itself."""
    mistakes: list[Mistake] = []
    for name, written in data.items():
        place = [*under, name]
        if name not in SEARCHABLE:
            close = did_you_mean(name, SEARCHABLE)
            sentence = f"search_space: no setting is called {name!r}{close}"
            mistakes.append(Mistake(source.name, source.line_of(place), sentence))
            continue
        try:
            parameter = Space.model_validate_json(json.dumps({name: written | {"when": None}}))
        except (ValidationError, TypeError):
            continue  # reported below, with its line
        wrong = _wrong_value(name, parameter.parameters[name])
        if wrong is not None:
            mistakes.append(Mistake(source.name, source.line_of(place), wrong))
    try:
        space = Space.model_validate_json(json.dumps(data))
    except ValidationError as error:
        return mistakes + mistakes_of(error, source, Space, under=under), None
    return mistakes, space


def _wrong_value(name: str, parameter: Parameter) -> str | None:
    """A sentence about a bound or a choice that the setting itself would refuse."""
    wrong = _wrong_kind(name, parameter)
    for value in values_of(parameter) if wrong is None else ():
        try:
            Settings.model_validate_json(json.dumps({name: value}))
        except ValidationError as error:
            lone = parse_yaml(dump_yaml({name: value}), name="")
            return f"search_space.{mistakes_of(error, lone, Settings)[0].sentence}"
    return wrong


def _wrong_kind(name: str, parameter: Parameter) -> str | None:
    """A sentence where a range of numbers is searched for a setting that takes none."""
    middle: Any
    if isinstance(parameter, IntParameter):
        middle = parameter.low + parameter.step
    elif isinstance(parameter, FloatParameter):
        middle = (parameter.low + parameter.high) / 2
    else:
        return None
    annotation: Any = Settings.model_fields[name].annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        adapter.validate_json(json.dumps(middle))
    except ValidationError:
        kind = "whole numbers" if isinstance(parameter, FloatParameter) else "no whole number"
        if isinstance(Settings.model_fields[name].default, str | bool):
            kind = "one of its words: write {type: choice, values: [...]}"
        else:
            kind += ": write 'type: int'" if isinstance(parameter, FloatParameter) else ""
        return f"search_space.{name}: this setting takes {kind}"
    return None


def _mistakes_between(source: YamlFile, data: Mapping[str, Any], space: Space) -> list[Mistake]:
    """What is both fixed and searched."""
    recipe = data.get("recipe")
    fixed = recipe if isinstance(recipe, dict) else {}
    return [
        Mistake(
            source.name,
            source.line_of(["recipe", name]),
            f"recipe.{name} is fixed here and searched by the space; remove one of the two",
        )
        for name in fixed
        if name in space.parameters
    ]


def _mistakes_in_combinations(plan: StudyPlan, source: YamlFile) -> list[Mistake]:
    """Settings that are right one by one and wrong together, for each combination searched."""
    fixed = plan.recipe.model_dump(exclude_unset=True)
    for lower, upper in (("initial_learning_rate", "maximal_learning_rate"),):
        # The bounds are checked at the ends that are furthest apart.
        parameters = plan.search_space.parameters
        if lower in parameters and upper not in parameters:
            fixed[lower] = min(v for v in values_of(parameters[lower]) if v is not None)
        elif upper in parameters and lower not in parameters:
            fixed[upper] = min(v for v in values_of(parameters[upper]) if v is not None)
    choices = {
        name: list(values_of(parameter))
        for name, parameter in plan.search_space.parameters.items()
        if isinstance(parameter, ChoiceParameter | FixedParameter)
        and name in ("variant", "weights", "backbone", "features", "optimizer", "rectify")
    }
    fixed |= _changes_searched(plan)
    sentences: dict[str, None] = {}
    for values in itertools.product(*choices.values()):
        settings = Settings.model_validate_json(
            json.dumps(fixed | dict(zip(choices, values, strict=True)))
        )
        sentences.update(dict.fromkeys(contradictions(settings)))
    mistakes = [
        Mistake(source.name, source.line_of(["recipe"]), f"recipe: {sentence}")
        for sentence in sentences
    ]
    for index, config in enumerate(plan.enqueue):
        if not plan.search_space.contains(config):
            mistakes.append(
                Mistake(
                    source.name,
                    source.line_of(["enqueue", index]),
                    "enqueue: this config does not lie in the search space (each searched "
                    "parameter needs one value inside its range)",
                )
            )
    return mistakes


def _changes_searched(plan: StudyPlan) -> dict[str, Any]:
    """For each searched augmentation a value, within its bounds, that changes images."""
    found = {}
    for name, parameter in plan.search_space.parameters.items():
        for value in values_of(parameter):
            alone = Settings.model_validate_json(json.dumps({name: value}))
            if image_changes(alone):
                found[name] = value
    return found
