"""Reads a study file and its search space from YAML, and reports all mistakes at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from effv2_tune.errors import Mistake, MistakesError, TuneError, did_you_mean
from effv2_tune.study.limits import MAX_MISTAKES, check_path, quoted
from effv2_tune.study.mistakes import further_mistakes, mistakes_of
from effv2_tune.study.plan import KNOW_PRIORS, StudyPlan
from effv2_tune.study.recipe import (
    FIRST_STAGE_SETTINGS,
    WEIGHT_SUFFIXES,
    Settings,
    contradictions,
    image_changes,
    uncacheable,
)
from effv2_tune.study.shipped import shipped_spaces, shipped_studies
from effv2_tune.study.space import (
    ORDERED_PAIRS,
    ChoiceParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    combinations,
    values_of,
)
from effv2_tune.study.yaml_file import YamlFile, dump_yaml, parse_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The settings that a space may vary: each is a number or a choice.
SEARCHABLE = tuple(Settings.model_fields)
#: Choices of which every combination is checked.
_COMBINED = (
    "variant",
    "weights",
    "backbone",
    "features",
    "optimizer",
    "rectify",
    "schedule",
    "ema",
)
_RESOLUTIONS = {"variant", "resolution", "evaluation_resolution"}
_PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)
# Stands in for the space while the rest of the file is validated: the space has its own lines.
_NO_SPACE = Space({})


@dataclass(frozen=True)
class _SpaceText:
    """Where a search space is written: the file, and the keys in it that lead to the space."""

    source: YamlFile
    path: tuple[str, ...]
    data: dict[str, Any]


@dataclass(frozen=True)
class LoadedPlan:
    """A study plan with the parsed files that it was read from.

    Attributes:
        plan: The plan.
        base: Folder that its relative paths start from.
        source: The study file.
        space: Where its search space is written.
    """

    plan: StudyPlan
    base: Path
    source: YamlFile
    space: _SpaceText

    def mistakes_at(self, setting: str, messages: Iterable[str]) -> list[Mistake]:
        """Mistakes of a setting, at its line in the search space or else in the recipe."""
        source: YamlFile = self.source
        path: tuple[str, ...] = ("recipe", setting)
        if setting in self.plan.search_space.parameters:
            source, path = self.space.source, (*self.space.path, setting)
        return [source.mistake(path, message) for message in messages]


def load_plan(study: str | Path, *, overrides: Mapping[str, Any] | None = None) -> LoadedPlan:
    """Read a study file, or a shipped study by its name.

    Args:
        study: Path of a YAML file, or a name that ``effv2-tune spaces`` lists.
        overrides: Values that replace top-level keys (from command-line options); ``ray`` replaces
            that key of ``cluster:``.

    Raises:
        MistakesError: With everything that is wrong, in the study file and in its space.
        TuneError: There is no such file.
    """
    path = _find_study(study)
    source = read_yaml(path, name=str(study) if Path(study).is_file() else str(path))
    given = dict(overrides or {})
    ray = given.pop("ray", None)
    if ray is not None:
        written = source.data.get("cluster")
        given["cluster"] = (written if isinstance(written, dict) else {}) | {"ray": ray}
    return parse_plan(source.with_arguments(given), base=path.parent)


def parse_plan(source: YamlFile, *, base: Path) -> LoadedPlan:
    """The plan in a YAML file that was read before; see :func:`load_plan`.

    Args:
        source: The study file.
        base: Folder that its relative paths start from.
    """
    mistakes: list[Mistake] = []
    plan = space = None
    try:
        plan = StudyPlan.from_plain(source.data | {"search_space": _NO_SPACE.root})
    except ValidationError as error:
        mistakes += mistakes_of(error, source, StudyPlan)
    written = _find_space(source, base, mistakes)
    if written is not None:
        space = _parse_space(written, mistakes)
    if space is not None:
        mistakes += _mistakes_between(source, space)
    if mistakes or plan is None or written is None or space is None:
        raise MistakesError(mistakes)
    plan = plan.model_copy(update={"search_space": space})
    loaded = LoadedPlan(plan, base.resolve(), source, written)
    mistakes = [
        *_mistakes_in_combinations(plan, source),
        *_untestable_rates(plan, source),
        *_unused_priors(loaded),
    ]
    if mistakes:
        raise MistakesError(mistakes)
    return loaded


def _find_study(study: str | Path) -> Path:
    try:
        path = Path(check_path(str(study)))
    except ValueError as error:
        raise TuneError(f"There is no study file: {error}.") from None
    if path.is_file():
        return path
    shipped = shipped_studies()
    name = path.name.removesuffix(".yaml")
    if name in shipped and (str(study) == name or not path.parent.is_dir()):
        return shipped[name]

    hint = f"Shipped studies: {', '.join(shipped)}. Your own: effv2-tune init"
    if path.is_dir():
        raise TuneError(f"{study} is a folder, not a study file.", hint=hint)
    close = did_you_mean(str(study), shipped) or "."
    raise TuneError(f"There is no study file {str(study)!r}{close}", hint=hint)


def _find_space(source: YamlFile, base: Path, mistakes: list[Mistake]) -> _SpaceText | None:
    """Where the search space is written; where it cannot be read, None and one mistake more."""
    written = source.data.get("search_space")
    if isinstance(written, dict) and written:
        return _SpaceText(source, ("search_space",), written)
    if isinstance(written, str):
        shipped = shipped_spaces()
        try:
            path = shipped.get(written, base / check_path(written))
        except ValueError as error:
            mistakes.append(source.mistake(["search_space"], f"search_space: {error}"))
            return None
        if path.is_file():
            try:
                space = read_yaml(path)
            except MistakesError as error:
                mistakes += error.mistakes
                return None
            return _SpaceText(space, (), space.data)
        message = (
            f"search_space: there is no space {quoted(written)}{did_you_mean(written, shipped)}; "
            f"shipped are {', '.join(shipped)}; or name a file, or write one here"
        )
    else:
        message = (
            "search_space is missing: name a shipped space (effv2-tune spaces), a path, "
            "or write one here"
        )
    mistakes.append(source.mistake(["search_space"], message))
    return None


def _parse_space(written: _SpaceText, mistakes: list[Mistake]) -> Space | None:
    """The search space; where it is not valid, None, and everything that is wrong with it."""
    source, parameters = written.source, {}
    unknown = [name for name in written.data if name not in SEARCHABLE]
    for name in unknown[:MAX_MISTAKES]:
        close = did_you_mean(name, SEARCHABLE)
        message = f"search_space: no setting is called {quoted(name)}{close}"
        mistakes.append(source.mistake([*written.path, name], message))
    further = [[*written.path, name] for name in unknown[MAX_MISTAKES:]]
    mistakes += further_mistakes(further, source)
    for name in [name for name in written.data if name in SEARCHABLE]:
        path, entry = [*written.path, name], written.data[name]
        shorthand = _shorthand(entry)
        if shorthand is not None:
            message = f"search_space.{name}: did you mean {shorthand}?"
            mistakes.append(source.mistake(path, message))
            continue
        try:
            parameter = _PARAMETER.validate_json(json.dumps(entry))
        except ValidationError as error:
            mistakes += mistakes_of(error, source, Space, under=written.path, inside=(name,))
            continue
        refused = _refused_value(name, parameter)
        if refused is not None:
            mistakes.append(source.mistake(path, refused))
        parameters[name] = parameter
    if len(parameters) < len(written.data):
        return None
    try:
        return Space(parameters)
    except ValidationError as error:
        mistakes += mistakes_of(error, source, Space, under=written.path)
        return None


def _shorthand(entry: Any) -> str | None:
    """What a list or a lone value in place of a parameter was probably meant to be."""
    if isinstance(entry, dict) or entry is None:
        return None
    if not isinstance(entry, list):
        return f"{{type: fixed, value: {json.dumps(entry)}}}"
    is_range = len(entry) == 2 and all(isinstance(bound, float) for bound in entry)  # noqa: PLR2004
    if is_range:
        return f"{{type: float, low: {entry[0]:g}, high: {entry[1]:g}}}"
    return f"{{type: choice, values: {json.dumps(entry)}}}"


def _refused_value(name: str, parameter: Parameter) -> str | None:
    """A message about a bound or a choice that the setting itself refuses."""
    message = _refused_kind(name, parameter)
    for value in values_of(parameter) if message is None else ():
        try:
            Settings.from_plain({name: value})
        except ValidationError as error:
            lone = parse_yaml(dump_yaml({name: value}), name="")
            return f"search_space.{mistakes_of(error, lone, Settings)[0].message}"
    return message


def _refused_kind(name: str, parameter: Parameter) -> str | None:
    """A message where a range of numbers is searched for a setting that takes none."""
    middle: Any
    if isinstance(parameter, IntParameter):
        middle = parameter.low + parameter.step
    elif isinstance(parameter, FloatParameter):
        middle = (parameter.low + parameter.high) / 2
    else:
        return None
    field = Settings.model_fields[name]
    annotation: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        adapter.validate_json(json.dumps(middle))
    except ValidationError:
        kind = "no whole number"
        if isinstance(field.default, str | bool):
            kind = "one of its words: write {type: choice, values: [...]}"
        elif isinstance(parameter, FloatParameter):
            kind = "whole numbers: write 'type: int'"
        return f"search_space.{name}: this setting takes {kind}"
    return None


def _mistakes_between(source: YamlFile, space: Space) -> list[Mistake]:
    """Settings that are both fixed and searched."""
    recipe = source.data.get("recipe")
    return [
        source.mistake(
            ["recipe", name],
            f"recipe.{name} is fixed here and searched by the space; remove one of the two",
        )
        for name in (recipe if isinstance(recipe, dict) else {})
        if name in space.parameters
    ]


def _untestable_rates(plan: StudyPlan, source: YamlFile) -> list[Mistake]:
    """A range test of a learning rate that has no bounds to set."""
    name = "maximal_learning_rate"
    has_bounds = isinstance(plan.search_space.parameters.get(name), FloatParameter)
    if has_bounds or not plan.search.range_test:
        return []
    message = (
        f"range_test sets the bounds of {name}, which the search space does not have as a range; "
        f"add '{name}: {{type: float, low: 1e-4, high: 1e-1, scale: log}}', or remove range_test"
    )
    return [source.mistake(["search", "range_test"], f"search.{message}")]


def _mistakes_in_combinations(plan: StudyPlan, source: YamlFile) -> list[Mistake]:
    """Settings that are valid one by one and contradict each other, in any searched combination."""
    parameters = plan.search_space.parameters
    fixed = plan.recipe.model_dump(exclude_unset=True)
    for lower, upper in ORDERED_PAIRS:
        # Of a pair of which one is searched, its smallest value is the least (or most) permissive.
        for name, other in ((lower, upper), (upper, lower)):
            if name in parameters and other not in parameters:
                fixed[name] = min(v for v in values_of(parameters[name]) if v is not None)
    choices = {
        name: list(values_of(parameter))
        for name, parameter in parameters.items()
        if isinstance(parameter, ChoiceParameter | FixedParameter) and name in _COMBINED
    }
    fixed |= _changes_searched(plan) | _stage_bounds(plan)
    messages: dict[str, None] = {}
    if "weights" in choices:  # one file stands for all
        choices["weights"] = list({_kind_of_weights(v): v for v in choices["weights"]}.values())
    try:
        for values in combinations(choices):
            known = {n: v for n, v in (fixed | values).items() if _is_possible(n, values, plan)}
            settings = Settings.from_plain(known)
            messages.update(dict.fromkeys(contradictions(settings)))
    except TuneError as error:
        return [source.mistake(["search_space"], error.message)]
    mistakes = [source.mistake(["recipe"], f"recipe: {message}") for message in messages]
    mistakes += [
        source.mistake(
            ["enqueue", index],
            "enqueue: this config is outside the search space (each searched parameter needs one "
            "value inside its range)",
        )
        for index, config in enumerate(plan.enqueue)
        if not plan.search_space.contains(config)
    ]
    return mistakes


def _is_possible(name: str, choices: Mapping[str, Any], plan: StudyPlan) -> bool:
    """Whether a setting can be active in a config with these choices."""
    parameter = plan.search_space.parameters.get(name)
    return parameter is None or all(
        parameter.allows(parent, choices[parent])
        for parent in parameter.conditions
        if parent in choices
    )


def _unused_priors(loaded: LoadedPlan) -> list[Mistake]:
    """The priors of a space whose engine knows none."""
    engine = loaded.plan.engine
    if engine in KNOW_PRIORS:
        return []
    message = (
        f"the engine {engine!r} knows no priors; use 'search: {{engine: …}}' with "
        f"{' or '.join(KNOW_PRIORS)}, or remove the prior"
    )
    return [
        mistake
        for name in loaded.plan.search_space.priors
        for mistake in loaded.mistakes_at(name, [f"search_space.{name}.prior: {message}"])
    ]


def _kind_of_weights(weights: str) -> str:
    """The name of released weights, or the suffix of a file."""
    suffixes = [suffix for suffix in WEIGHT_SUFFIXES if weights.endswith(suffix)]
    return suffixes[0] if suffixes else weights


def _stage_bounds(plan: StudyPlan) -> dict[str, Any]:
    """For each searched parameter that stages depend on, the value that permits the least."""
    found = {}
    for name in ("stages", "head_epochs", "epochs", "resolution", *FIRST_STAGE_SETTINGS):
        if name in plan.search_space.parameters:
            values = values_of(plan.search_space.parameters[name])
            numbers = [value for value in values if isinstance(value, int | float)]
            if numbers:
                found[name] = min(numbers) if name in ("epochs", "resolution") else max(numbers)
    return found


def _changes_searched(plan: StudyPlan) -> dict[str, Any]:
    """For what is searched a value, within its bounds, with which features cannot be cached."""
    written = plan.recipe.model_dump(include=_RESOLUTIONS, exclude_unset=True)

    def changes(name: str, value: Any) -> bool:
        if name in _RESOLUTIONS:
            return bool(uncacheable(Settings.from_plain(written | {name: value})))
        return bool(image_changes(Settings.from_plain({name: value})))

    return {
        name: value
        for name, parameter in plan.search_space.parameters.items()
        for value in values_of(parameter)
        if changes(name, value)
    }
