"""Reads YAML files as plain data with line numbers, and writes them."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from effv2_tune.errors import Mistake, MistakesError, TuneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file, with its line numbers.

    Attributes:
        name: The file as the user wrote it, for messages.
        data: The mapping in the file, as plain dictionaries and lists.
        tree: The same with ruamel.yaml's line numbers.
        arguments: Keys whose values in ``data`` are arguments of a call, not from the file.
    """

    name: str
    data: dict[str, Any]
    tree: CommentedMap
    arguments: frozenset[str] = frozenset()

    def with_arguments(self, values: Mapping[str, Any]) -> YamlFile:
        """The same file, with some keys replaced by arguments; those that are None are ignored."""
        given = {key: value for key, value in values.items() if value is not None}
        return replace(self, data=self.data | given, arguments=frozenset(given))

    def mistake(self, path: Sequence[str | int], message: str) -> Mistake:
        """A mistake at the key ``path``: the file and line of the key, or the argument."""
        if path and path[0] in self.arguments:
            return Mistake(f"argument {path[0]}", 0, message.removeprefix(f"{path[0]}: "))
        return Mistake(self.name, self.line_of(path), message)

    def line_of(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of the deepest key of ``path`` that the file has; 0 where it has none.

        Other steps are skipped, because a validator may put names of its own (of a union's members)
        between those of the file.
        """
        node: Any = self.tree
        line = 0
        for step in path:
            if isinstance(node, CommentedMap) and step in node:
                line = node.lc.key(step)[0] + 1
                node = node[step]
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0] + 1
                node = node[step]
        return line


def read_yaml(
    path: Path,
    *,
    name: str | None = None,
    hint: str = "Start from a shipped study: effv2-tune init",
) -> YamlFile:
    """Read a YAML 1.2 mapping, so that ``1e-6`` is a number and ``on`` is a word.

    Args:
        path: The file.
        name: What to call it in messages; the path as given if left out.
        hint: What to do where there is no such file.

    Raises:
        TuneError: The file cannot be read.
        MistakesError: It is not valid YAML, repeats a key, or is not a mapping.
    """
    name = str(path) if name is None else name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TuneError(f"There is no file {name}.", hint=hint) from None
    except IsADirectoryError:
        raise TuneError(f"{name} is a folder, not a YAML file.", hint=hint) from None
    except UnicodeDecodeError:
        raise TuneError(f"{name} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise TuneError(
            f"{name} cannot be read: {error.strerror}.", hint="Check the permissions of the file."
        ) from None
    return parse_yaml(text, name=name)


def parse_yaml(text: str, *, name: str) -> YamlFile:
    """The same from text; see :func:`read_yaml`."""
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or "not YAML").splitlines()[0]
        if "'\\t'" in problem:
            problem = "this line is indented with a tab; use spaces"
        line = 0 if mark is None else mark.line + 1
        raise MistakesError([Mistake(name, line, f"not valid YAML: {problem}")]) from None
    except (YAMLError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise MistakesError([Mistake(name, 0, f"not valid YAML: {problem}")]) from None
    if tree is None:
        raise MistakesError([Mistake(name, 0, "the file is empty; start with 'effv2-tune init'")])
    if not isinstance(tree, CommentedMap):
        message = "expected 'key: value' lines, found something else"
        raise MistakesError([Mistake(name, 0, message)])
    tagged = [
        Mistake(name, line, f"the tag {tag} is not allowed; write the value without a tag")
        for tag, line in _tags(tree, 0)
    ]
    if tagged:
        raise MistakesError(tagged)
    return YamlFile(name=name, data=_plain(tree), tree=tree)


def _tags(node: Any, line: int) -> Iterator[tuple[str, int]]:
    """Every explicit tag, such as ``!!python/object``, with its line."""
    tag = getattr(getattr(node, "tag", None), "value", None)
    if tag is not None:
        yield tag.replace("tag:yaml.org,2002:", "!!"), line
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            yield from _tags(value, node.lc.key(key)[0] + 1)
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            yield from _tags(value, node.lc.item(index)[0] + 1)


def dump_yaml(data: Mapping[str, Any], *, header: str = "") -> str:
    """``data`` as YAML text that :func:`parse_yaml` reads back equal, under comment lines."""
    yaml = YAML(typ="rt")
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(_plain(data), text)
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + text.getvalue()


def _plain(node: Any) -> Any:
    """Dictionaries, lists and Python's own scalars instead of ruamel.yaml's subclasses."""
    if isinstance(node, dict):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)  # YAML's dates
