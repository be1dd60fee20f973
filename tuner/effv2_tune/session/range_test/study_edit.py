"""Writes bounds of the search space into a study file, and leaves all else as it is written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import write_bytes
from effv2_tune.study.loading import parse_plan
from effv2_tune.study.shipped import shipped_studies
from effv2_tune.study.space import FloatParameter
from effv2_tune.study.yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from effv2_tune.optimizers.range_test import Bounds
    from effv2_tune.study.loading import LoadedPlan

_SPACE = "search_space"


def check_writable(loaded: LoadedPlan, file: Path) -> None:
    """Check, before anything is tested, that bounds can be written into a study file.

    Args:
        loaded: The study file.
        file: It.

    Raises:
        TuneError: It is shipped with this package, its search space is in another file, or
            `maximal_learning_rate` is not searched as a range.
    """
    if file.resolve() in {path.resolve() for path in shipped_studies().values()}:
        raise TuneError(
            f"{file} is shipped with this package, and is not changed.",
            hint="Copy it: effv2-tune init",
        )
    if loaded.space.source is not loaded.source:
        raise TuneError(
            f"The search space is in {loaded.space.source.name}, which other studies may use.",
            hint=f"Write it under 'search_space:' of {file}, or write the bounds by hand.",
        )
    parameter = loaded.plan.search_space.parameters.get("maximal_learning_rate")
    if not isinstance(parameter, FloatParameter):
        raise TuneError(
            f"{file} does not search maximal_learning_rate as a range, so none can be written.",
            hint="Add 'maximal_learning_rate: {type: float, low: 1e-4, high: 1e-1, scale: log}' to "
            "its search space; the test replaces the bounds.",
        )


def write_bounds(loaded: LoadedPlan, file: Path, bounds: Mapping[str, Bounds]) -> Path:
    """Write the bounds of those parameters that the search space of a study file has as ranges.

    Only the numbers change: comments, order and layout stay. The file as it was is kept beside it.

    Args:
        loaded: The study file, which `check_writable` has accepted.
        file: It.
        bounds: Of each parameter, by name.

    Returns:
        The copy of the file as it was.

    Raises:
        TuneError: It has changed meanwhile, an anchor or a merge is in the way, or the result would
            not be a valid study; nothing is written then.
    """
    text = file.read_bytes().decode("utf-8")
    if parse_yaml(text, name=str(file)).data != loaded.source.data:
        raise TuneError(
            f"{file} has changed since the test began; the bounds are not written.",
            hint="Run the same command again, or write the bounds by hand.",
        )
    parameters = loaded.plan.search_space.parameters
    changes: dict[tuple[str, ...], float] = {
        (_SPACE, name, end): getattr(its, end)
        for name, its in bounds.items()
        if isinstance(parameters.get(name), FloatParameter)
        for end in ("low", "high")
    }
    edited = with_numbers(text, changes, name=str(file))
    parse_plan(parse_yaml(edited, name=str(file)), base=loaded.base)
    copies = (Path(f"{file}.before-range-{number}") for number in itertools.count(1))
    copy = next(path for path in copies if not path.exists())
    write_bytes(copy, text.encode())
    write_bytes(file, edited.encode())
    return copy


def with_numbers(text: str, changes: Mapping[tuple[str, ...], float], *, name: str) -> str:
    """YAML text with other numbers in some places, and otherwise the same to the last character.

    Args:
        text: Of a YAML mapping.
        changes: The new numbers, by the path of keys to each.
        name: Of the file, for messages.

    Raises:
        TuneError: A number is not written where its path is, but repeated by an alias or a merge.
    """
    root = YAML(typ="safe", pure=True).compose(text)
    counts = _counts(root)
    spans = {}
    for path, value in changes.items():
        node = _node_at(root, path)
        if not isinstance(node, ScalarNode) or any(counts[id(one)] > 1 for one in _on(root, path)):
            raise TuneError(
                f"{name}: {'.'.join(path)} is repeated by an anchor, an alias or '<<', so that "
                "writing it could change something else.",
                hint="Write the bounds by hand.",
            )
        spans[node.start_mark.index, node.end_mark.index] = f"{value:.3g}"
    edited = text
    for (start, end), number in sorted(spans.items(), reverse=True):
        edited = edited[:start] + number + edited[end:]
    _check_edit(text, edited, changes, name=name)
    return edited


def _check_edit(
    text: str, edited: str, changes: Mapping[tuple[str, ...], float], *, name: str
) -> None:
    """Check that only what was to be changed is read differently."""
    wanted, found = parse_yaml(text, name=name).data, parse_yaml(edited, name=name).data
    for path, value in changes.items():
        parent = wanted
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = float(f"{value:.3g}")
    if found != wanted:
        raise TuneError(
            f"{name} cannot be edited without a change of something else.",
            hint="Write the bounds by hand.",
        )


def _on(root: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The nodes from below the root to the one at a path."""
    return (_node_at(root, path[:length]) for length in range(1, len(path) + 1))


def _node_at(root: Any, path: tuple[str, ...]) -> Any:
    """The node at a path of keys; None where it is not written there."""
    node = root
    for key in path:
        pairs = node.value if isinstance(node, MappingNode) else ()
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def _counts(root: Any) -> dict[int, int]:
    """How often each node is used: more than once where an alias repeats it."""
    counts: dict[int, int] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        counts[id(node)] = counts.get(id(node), 0) + 1
        if counts[id(node)] > 1 or isinstance(node, ScalarNode):
            continue
        is_mapping = isinstance(node, MappingNode)
        waiting += [one for pair in node.value for one in pair] if is_mapping else node.value
    return counts
