"""Reads YAML files as plain data with line numbers, and writes them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from effv2_tune.errors import Mistake, MistakesError, TuneError
from effv2_tune.study.limits import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_INTEGER,
    MAX_NODES,
    is_control,
    one_line,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_Path = tuple[str | int, ...]
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file, with its line numbers.

    Attributes:
        name: The file as the user wrote it, for messages.
        data: The mapping in the file, as plain dictionaries and lists.
        lines: The line, from 1, of every key and list item, by its path of keys and indices.
        arguments: Keys whose values in ``data`` are arguments of a call, not from the file.
    """

    name: str
    data: dict[str, Any]
    lines: Mapping[_Path, int]
    arguments: frozenset[str] = frozenset()

    def with_arguments(self, values: Mapping[str, Any]) -> YamlFile:
        """The same file, with some keys replaced by arguments; those that are None are ignored."""
        given = {key: value for key, value in values.items() if value is not None}
        return replace(self, data=self.data | given, arguments=frozenset(given))

    def mistake(self, path: Sequence[str | int], message: str) -> Mistake:
        """A mistake at the key ``path``: the file and line of the key, or the argument."""
        message = one_line(message)
        if path and path[0] in self.arguments:
            return Mistake(f"argument {path[0]}", 0, message.removeprefix(f"{path[0]}: "))
        return Mistake(self.name, self.line_of(path), message)

    def line_of(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of the deepest key of ``path`` that the file has; 1 where it has none.

        Other steps are skipped, because a validator may put names of its own (of a union's members)
        between those of the file.
        """
        known: _Path = ()
        for step in path:
            if (*known, step) in self.lines:
                known = (*known, step)
        return self.lines.get(known, 1)


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
        MistakesError: It is not valid YAML, repeats a key, is not a mapping, or exceeds the limits
            of :mod:`effv2_tune.study.limits`.
    """
    name = str(path) if name is None else name
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise TuneError(f"There is no file {name}.", hint=hint) from None
    except IsADirectoryError:
        raise TuneError(f"{name} is a folder, not a YAML file.", hint=hint) from None
    except OSError as error:
        raise TuneError(
            f"{name} cannot be read: {error.strerror}.", hint="Check the permissions of the file."
        ) from None
    if len(content) > MAX_FILE_BYTES:
        line = content.count(b"\n") + 1
        message = f"the file is longer than {MAX_FILE_BYTES:,} bytes; shorten it"
        raise MistakesError([Mistake(name, line, message)])
    try:
        return parse_yaml(content.decode("utf-8"), name=name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise MistakesError([Mistake(name, line, message)]) from None


def parse_yaml(text: str, *, name: str) -> YamlFile:
    """The same from text; see :func:`read_yaml`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _LimitedComposer
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or "not YAML").splitlines()[0]
        if "'\\t'" in problem:
            problem = "this line is indented with a tab; use spaces"
        line = 1 if mark is None else mark.line + 1
        raise _refused(name, line, f"not valid YAML: {problem}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused(name, line, f"not valid YAML: {str(error).splitlines()[0]}") from None
    except _LimitError as error:
        raise _refused(name, error.line, error.message) from None
    except (YAMLError, ValueError, LookupError, AssertionError) as error:
        problem = (str(error) or "not YAML").splitlines()[0]
        raise _refused(name, 1, f"not valid YAML: {problem}") from None
    if root is None:
        raise _refused(name, 1, "the file is empty; start with 'effv2-tune init'")
    if not isinstance(root, MappingNode):
        raise _refused(name, 1, "expected 'key: value' lines, found something else")
    builder = _Builder(yaml)
    data = builder.build(root, ())
    mistakes = [*yaml.composer.mistakes, *builder.mistakes]
    if mistakes:
        raise MistakesError(
            Mistake(name, line, one_line(message)) for line, message in dict.fromkeys(mistakes)
        )
    return YamlFile(name=name, data=data, lines=builder.lines)


def _refused(name: str, line: int, message: str) -> MistakesError:
    return MistakesError([Mistake(name, line, one_line(message))])


class _LimitError(Exception):
    """A file exceeds a limit at a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _LimitedComposer(Composer):
    """Composes nodes up to a depth and a number, in which each alias counts as its content.

    Attributes:
        mistakes: Line and message of each tag, such as ``!!python/object``.
    """

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False
        self.mistakes: list[tuple[int, str]] = []
        self._count = 0
        self._sizes: dict[int, int] = {}  # by the id of a complete node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        line = event.start_mark.line + 1
        before = self._count
        if isinstance(event, AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _LimitError(line, f"*{event.anchor} is inside the value that it repeats")
            self._count += self._sizes[id(node)]
        else:
            self._count += 1
            if self.depth >= MAX_DEPTH:
                raise _LimitError(line, f"more than {MAX_DEPTH} levels of lists and mappings")
            if event.ctag is not None:
                tag = str(event.ctag).replace("tag:yaml.org,2002:", "!!")
                message = f"the tag {tag} is not allowed; write the value without a tag"
                self.mistakes.append((line, message))
            node = super().compose_node(parent, index)
            self._sizes[id(node)] = self._count - before
        if self._count > MAX_NODES:
            raise _LimitError(
                line,
                f"more than {MAX_NODES:,} keys and values, counting those of each alias again; "
                "shorten the file",
            )
        return node


class _Builder:
    """Makes plain data of nodes.

    Attributes:
        lines: The line of every key and list item, by its path.
        mistakes: Line and message of what is not plain data.
    """

    def __init__(self, yaml: YAML) -> None:
        self.lines: dict[_Path, int] = {}
        self.mistakes: list[tuple[int, str]] = []
        self._constructor = yaml.constructor

    def build(self, node: Any, path: _Path) -> Any:
        """Dictionaries, lists, numbers, words, true, false and None."""
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        data: Any
        if isinstance(node, SequenceNode):
            data = []
            for index, item in enumerate(node.value):
                self.lines[*path, index] = _line(item)
                data.append(self.build(item, (*path, index)))
            return data
        data = {}
        for key, key_node, value in self._pairs(node):
            if key not in data:  # else a merged mapping's, which the mapping replaces
                self.lines[*path, key] = _line(key_node)
                data[key] = self.build(value, (*path, key))
        return data

    def _pairs(self, node: Any) -> Iterator[tuple[str, Any, Any]]:
        """The keys and values of a mapping, then those of the mappings merged by ``<<``."""
        keys: set[str] = set()
        merged: list[Any] = []
        for key_node, value in node.value:
            if _kind(key_node) == "merge":
                merged += value.value if isinstance(value, SequenceNode) else [value]
                continue
            key = self._key(key_node)
            if key in keys:
                self._refuse(key_node, f"not valid YAML: found duplicate key {quoted(key)}")
                continue
            keys.add(key)
            yield key, key_node, value
        for source in merged:
            if isinstance(source, MappingNode):
                yield from self._pairs(source)
            else:
                self._refuse(source, "'<<' merges a mapping or a list of mappings, nothing else")

    def _key(self, node: Any) -> str:
        """A key: a word, or a decimal whole number, such as a class label."""
        if not isinstance(node, ScalarNode):
            self._refuse(node, "a key is a word, not a list or a mapping")
            return ""
        kind = _kind(node)
        is_decimal = kind == "int" and _DECIMAL.fullmatch(node.value)
        if kind in ("null", "bool", "int", "float", "timestamp") and not is_decimal:
            self._refuse(node, f"the key {quoted(node.value)} is not a word; put it in quotes")
        return self._text(node)

    def _scalar(self, node: Any) -> Any:
        kind = _kind(node)
        if kind == "timestamp":
            self._refuse(node, f"{node.value} is a date; put it in quotes to write a word")
        if kind not in ("null", "bool", "int", "float"):
            return self._text(node)
        try:
            value = self._constructor.construct_object(node)
        except ValueError:  # more digits than Python converts
            value = MAX_INTEGER + 1
        if kind == "int" and abs(value) > MAX_INTEGER:
            shown = quoted(node.value).strip("'")
            self._refuse(node, f"the number {shown} is too large; use at most {MAX_INTEGER}")
            return 0
        return value

    def _text(self, node: Any) -> str:
        text = str(node.value)
        for character in text:
            if character not in "\n\t" and is_control(character):
                code = f"U+{ord(character):04X}"
                self._refuse(node, f"the text has the control character {code}; remove it")
                return ""
        return text

    def _refuse(self, node: Any, message: str) -> None:
        self.mistakes.append((_line(node), message))


def _kind(node: Any) -> str:
    """The type that a plain scalar is resolved to, such as ``int``."""
    return str(node.tag).rpartition(":")[2]


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def dump_yaml(data: Mapping[str, Any], *, header: str = "") -> str:
    """``data`` as YAML text that :func:`parse_yaml` reads back equal, under comment lines."""
    yaml = YAML(typ="rt")
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(data, text)
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + text.getvalue()
