"""The layout of the code: small packages and functions, one place per mechanism, standard terms."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tuner" / "effv2_tune"
MODULES = sorted(PACKAGE.rglob("*.py"))

MOST_MODULES = 18
LONGEST_FUNCTION = 77
P95_FUNCTION = 31
MOST_PRIVATE_ACCESSES = 4

#: Modules that may do what no other does.
ATOMIC_RENAME = {"files/atomic.py"}
FILE_LOCK = {"files/locks.py"}
WORKER_START = {"workers/local.py"}
#: Processes that are no workers: Keras Tuner's oracle, and the checks of the self-test.
OTHER_PROCESSES = {"search/engines/keras_tuner.py", "session/selftest.py"}

#: Words that have a standard term, which is in docs/glossary.md or in every textbook.
OLD_WORDS = {
    r"stray(s|ed|ing)?": "outlier, differ",
    r"foretell(s|ing)?|foretold": "predict",
    r"outlooks?": "extrapolation, expected outcome",
    r"bur(y|ies|ied)": "handle the death of",
    r"no number": "NaN",
    r"is right(?!-)": "is valid",
    r"mend(s|ed|ing)?": "fix",
    r"strangeness": "incompatibility",
    r"twins?": "duplicate",
    r"told": "record, report, finish",
    r"hear(s|d|ing)?": "receive",
    r"save (that|for)": "except",
    r"spared": "saved",
    r"l(ies|ie|ay) (in|under|beside|on)": "is in",
    r"what it is that": "(drop the relative clause)",
    r"beats|beaten|nothing beats": "dominate",
    r"(carry|carries|carried) out": "run",
    r"standard (training )?run": "final training",
    r"held against": "compare with",
    r"taken for": "predicted as",
    r"forgettable": "expired",
    r"respac(e|es|ed|ing)": "migrate",
    r"narrat(e|es|ion|or)": "progress",
    r"polite": "grace period",
    r"false starts?": "startup failure",
}
PATTERNS = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): say for word, say in OLD_WORDS.items()}


class Function(NamedTuple):
    """A function or method."""

    place: str
    length: int


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions() -> list[Function]:
    return [
        Function(f"{name_of(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    """Line, dotted name as it is written, and node of each call."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def renames_a_file(name: str, call: ast.Call) -> bool:
    """`os.replace`, or `Path.replace`: with one argument, unlike that of strings."""
    if name == "os.replace":
        return True
    return name.endswith(".replace") and len(call.args) == 1 and not call.keywords


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each name, comment and string (messages and docstrings), names in words."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], in_words(token.string)
        elif token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def in_words(name: str) -> str:
    """`_MostFalse_STARTS` is `most false starts`."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).replace("_", " ").lower()


def old_words(text: str) -> Iterator[str]:
    for pattern, standard in PATTERNS.items():
        if found := pattern.search(text):
            yield f"{found.group()!r}; the standard term: {standard}"


def test_no_folder_of_code_has_more_than_18_modules() -> None:
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")

    assert not {name_of(folder): count for folder, count in counts.items() if count > MOST_MODULES}


def test_no_module_is_a_grab_bag() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "helpers", "misc", "common"}


def test_functions_are_short() -> None:
    lengths = sorted(function.length for function in functions())

    assert not [function for function in functions() if function.length > LONGEST_FUNCTION]
    assert lengths[int(len(lengths) * 0.95)] <= P95_FUNCTION


def test_files_are_replaced_atomically_in_one_module() -> None:
    elsewhere = [
        f"{name_of(path)}:{line}"
        for path in MODULES
        if name_of(path) not in ATOMIC_RENAME
        for line, name, call in calls(path)
        if renames_a_file(name, call)
    ]

    assert not elsewhere, f"use files/atomic.py: {elsewhere}"


def test_files_are_locked_in_one_module() -> None:
    elsewhere = [
        f"{name_of(path)}:{line}"
        for path in MODULES
        if name_of(path) not in FILE_LOCK
        for line, name, _ in calls(path)
        if name.rpartition(".")[2] in ("flock", "lockf")
    ]

    assert not elsewhere, f"use files/locks.py: {elsewhere}"


def test_workers_are_started_in_one_module() -> None:
    starting = {
        name_of(path)
        for path in MODULES
        for _, name, _ in calls(path)
        if name.rpartition(".")[2] == "Popen"
    }
    naming_the_worker = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and node.value == "effv2_tune.training.worker"
    }

    assert starting <= WORKER_START | OTHER_PROCESSES
    assert naming_the_worker <= {"workers/local.py", "workers/launch.py"}
    assert len(naming_the_worker) == 1


def test_private_members_stay_private() -> None:
    accesses = [
        f"{name_of(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"noqa:.*\bSLF001\b", line)
    ]

    assert len(accesses) <= MOST_PRIVATE_ACCESSES, accesses


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_code_uses_the_terms_of_the_field(path: Path) -> None:
    found = [
        f"{name_of(path)}:{line}: {word}" for line, text in words(path) for word in old_words(text)
    ]
    found += [f"{name_of(path)}: {word}" for word in old_words(in_words(path.stem))]

    assert not found, "\n".join(sorted(set(found)))


def texts() -> list[Path]:
    """Pages, and what of the package is not Python; the changelog's past entries are left alone."""
    pages = [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
    shipped = [*(ROOT / "studies").glob("*.yaml"), *(ROOT / "search_spaces").rglob("*.yaml")]
    return sorted(
        [*pages, *shipped, *PACKAGE.rglob("*.j2"), *(ROOT / "benchmarks" / "results").glob("*.md")]
    )


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_use_the_terms_of_the_field(path: Path) -> None:
    found = [
        f"{path.name}:{number}: {word}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for word in old_words(line)
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_old"),
    [
        (in_words("_MOST_FALSE_STARTS"), True),
        (in_words("isTold"), True),
        ("The loss was no number in epoch 3.", True),
        ("The features lie on the device.", True),
        ("An element that is right-aligned.", False),
        ("Shear, heartbeat and recommended.", False),
        ("study.tell(trial, values)", False),
    ],
)
def test_old_words_are_whole_words(text: str, *, is_old: bool) -> None:
    assert any(old_words(text)) == is_old


def test_modules_that_the_documentation_names_exist() -> None:
    missing = [
        f"{page.name}: {module}"
        for page in [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
        for module in re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
        if not any(str(path).endswith(f"/{module}") for path in files_of_the_repository())
    ]

    assert not missing


@cache
def files_of_the_repository() -> tuple[Path, ...]:
    folders = ("tuner", "tests", "benchmarks", "docs")
    return tuple(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_the_architecture_page_lists_every_folder_of_code() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```\neffv2_tune/\n(.*?)```", page, re.DOTALL)
    assert tree is not None

    listed = set(re.findall(r"(\w+)/", tree.group(1)))
    folders = {path.parent.name for path in MODULES if path.parent != PACKAGE}
    unlisted = folders - listed

    assert not unlisted
    assert not listed - folders - {"templates"}
