"""Turns pydantic's validation errors into messages with the lines of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, RootModel

from effv2_tune.errors import did_you_mean
from effv2_tune.study.limits import MAX_MISTAKES, MAX_QUOTED, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from effv2_tune.errors import Mistake
    from effv2_tune.study.yaml_file import YamlFile

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a word",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "none_required": "null",
}
#: Keys and types of other libraries' search spaces (Optuna, Ray Tune, Keras Tuner), and ours.
_ALIASES = {
    "log": "'scale: log'",
    "loguniform": "'type: float, scale: log'",
    "log_uniform": "'type: float, scale: log'",
    "uniform": "'type: float'",
    "categorical": "'type: choice, values: [...]'",
    "choices": "'values: [...]'",
    "min": "'low:'",
    "max": "'high:'",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def mistakes_of(
    error: ValidationError,
    source: YamlFile,
    model: type[BaseModel],
    *,
    under: Sequence[str | int] = (),
    inside: Sequence[str | int] = (),
) -> list[Mistake]:
    """Each thing that pydantic refused, once, at its line.

    Args:
        error: From pydantic.
        source: The file that was read.
        model: The model that it was read into; its fields are offered for misspelt keys.
        under: Path inside the file at which the model's data starts.
        inside: Path inside the model at which the validated data starts.
    """
    start = [*under, *inside]
    grouped: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        grouped.setdefault(_path_in(source, detail, start), []).append(detail)
    # Of a union, the member that came closest has mistakes further inside.
    above = {path[:length] for path in grouped for length in range(len(path))}
    paths = [path for path in grouped if path not in above]
    mistakes = [
        source.mistake(path, _message(path, grouped[path], model, under))
        for path in paths[:MAX_MISTAKES]
    ]
    return [*mistakes, *further_mistakes(paths[MAX_MISTAKES:], source)]


def further_mistakes(paths: Sequence[Sequence[str | int]], source: YamlFile) -> list[Mistake]:
    """One mistake in place of all that are too many to report, at the line of the first."""
    if not paths:
        return []
    message = f"{len(paths):,} more mistakes from here on; correct those above first"
    return [source.mistake(paths[0], message)]


def _path_in(
    source: YamlFile, detail: ErrorDetails, start: Sequence[str | int]
) -> tuple[str | int, ...]:
    """The path of the file's own keys to the error; names of union members are left out."""
    node: Any = source.data
    path: list[str | int] = []
    for step in [*start, *detail["loc"]]:
        if _has(node, step):
            node = node[step]
        elif detail["type"] == "missing" and step == detail["loc"][-1]:
            pass  # not in the file, and that is the mistake
        else:
            continue
        path.append(step)
    return tuple(path)


def _has(node: Any, step: str | int) -> bool:
    if isinstance(node, dict):
        return step in node
    return isinstance(node, list) and isinstance(step, int) and step < len(node)


def _message(
    path: tuple[str | int, ...],
    details: list[ErrorDetails],
    model: type[BaseModel],
    under: Sequence[str | int],
) -> str:
    first = details[0]
    steps = [_shortened(str(step)) for step in path]
    key, parent = ".".join(steps), ".".join(steps[:-1])
    prefix = f"{parent}: " if parent else ""
    if path and all(detail["type"] == "extra_forbidden" for detail in details):
        known = _fields_at(model, path[len(under) : -1])
        close = _alias(str(path[-1]), known) or did_you_mean(str(path[-1]), known)
        return f"{prefix}unknown key {quoted(str(path[-1]))}{close}"
    if path and first["type"] == "missing":
        return f"{prefix}{path[-1]!r} is missing"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return f"{key}: {message}" if key else message
    if first["type"] == "union_tag_not_found":
        return f"{key}: 'type' is missing; it is float, int, choice or fixed"
    if first["type"] == "union_tag_invalid":
        tag = str(first["ctx"]["tag"])
        tags = str(first["ctx"]["expected_tags"]).replace("'", "")
        close = _alias(tag, ["values"]) or did_you_mean(tag, tags.split(", "))
        return f"{key}: expected type {tags.replace(', ', ' or ')}, found {quoted(tag)}{close}"
    expected = list(dict.fromkeys(_expectation(detail) for detail in details))
    found = _shown(first["input"])
    close = did_you_mean(str(first["input"]), _literals(details))
    return f"{key}: expected {' or '.join(expected)}, found {found}{close}"


def _alias(word: str, known: Sequence[str]) -> str:
    """What another library's word is called in a search space."""
    is_space = "low" in known or "values" in known
    return f", did you mean {_ALIASES[word]}?" if is_space and word in _ALIASES else ""


def _expectation(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    context = detail.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return "letters, digits, '.', '_' and '-' alone"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        return f"{words} {bound:g}" if isinstance(bound, float) else f"{words} {bound}"
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace(" or ", ", ").replace("'", "").replace(", ", " or ")
    if kind in ("too_short", "too_long"):
        words = "at least" if kind == "too_short" else "at most"
        count = context.get("min_length", context.get("max_length"))
        return f"{words} {count} of them"
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _literals(details: list[ErrorDetails]) -> list[str]:
    words = []
    for detail in details:
        if detail["type"] == "literal_error":
            expected = str(detail.get("ctx", {})["expected"]).replace(" or ", ", ")
            words += [word.strip("'") for word in expected.split(", ")]
    return words


def _shown(value: Any) -> str:
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}..."


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Names that may stand at ``path`` inside ``model``."""
    kinds: list[Any] = [model]
    for step in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    names: dict[str, None] = {}
    for kind in kinds:
        for member in _members(kind):
            names.update(dict.fromkeys(member.model_fields))
    return list(names)


def _inside(kind: Any, step: str | int) -> list[Any]:
    inner: list[Any] = []
    for member in _members(kind):
        if issubclass(member, RootModel):
            inner += _arguments(member.model_fields["root"].annotation)
        elif step in member.model_fields:
            inner.append(member.model_fields[str(step)].annotation)
    if not inner:
        inner = [argument for argument in _arguments(kind) if argument is not kind]
    return inner


def _members(kind: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, directly or through unions."""
    if isinstance(kind, type) and get_origin(kind) is None:
        return [kind] if issubclass(kind, BaseModel) else []
    return [member for argument in get_args(kind) for member in _members(argument)]


def _arguments(kind: Any) -> list[Any]:
    return list(get_args(kind)) or [kind]
