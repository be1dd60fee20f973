"""YAML files as plain data that remembers its lines."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from effv2_tune.errors import Mistake, MistakesError, TuneError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class YamlFile:
    """What a YAML file says, and on which line.

    Attributes:
        name: The file as the person wrote it, for messages.
        data: The mapping in the file, as plain dictionaries and lists.
        tree: The same with ruamel.yaml's line numbers.
    """

    name: str
    data: dict[str, Any]
    tree: CommentedMap

    def line_of(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of the deepest key of ``path`` that the file has; 0 where it has none.

        Steps that the file does not have are passed over, because a validator may put names of
        its own (of a union's members, say) between those of the file.
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


def read_yaml(path: Path, *, name: str | None = None) -> YamlFile:
    """Read a YAML 1.2 mapping, so that ``1e-6`` is a number and ``on`` is a word.

    Args:
        path: The file.
        name: What to call it in messages; the path as given if left out.

    Raises:
        TuneError: The file cannot be read.
        MistakesError: It is not YAML, repeats a key, or is no mapping.
    """
    name = str(path) if name is None else name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TuneError(
            f"There is no file {name}.",
            hint="Start from a shipped study: effv2-tune run quickstart",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TuneError(f"{name} cannot be read: {error}.", hint="Name a readable file.") from None
    return parse_yaml(text, name=name)


def parse_yaml(text: str, *, name: str) -> YamlFile:
    """The same from text; see :func:`read_yaml`."""
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or "not YAML").splitlines()[0]
        line = 0 if mark is None else mark.line + 1
        raise MistakesError([Mistake(name, line, f"not valid YAML: {problem}")]) from None
    except (YAMLError, ValueError) as error:
        raise MistakesError([Mistake(name, 0, f"not valid YAML: {error}")]) from None
    if not isinstance(tree, CommentedMap):
        sentence = "expected 'key: value' lines, found something else"
        raise MistakesError([Mistake(name, 0, sentence)])
    return YamlFile(name=name, data=_plain(tree), tree=tree)


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
    return node
