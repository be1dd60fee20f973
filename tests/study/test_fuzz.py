"""Study files, mutated and hostile, through `check`: valid, or refused with file and line."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from effv2_tune.cli import run
from effv2_tune.forecast.buckets import draw_config
from effv2_tune.study import StudyPlan
from effv2_tune.study.shipped import shipped_spaces, shipped_studies

if TYPE_CHECKING:
    from collections.abc import Callable

FAST, ALL = 48, 2_000
MAX_SECONDS, MAX_BYTES = 2.0, 300e6
MISTAKE = re.compile(r"[\w./-]+:[1-9]\d*: \S")

RICH = """\
# Every kind of parameter, an alias, a merge key and a config to try first.
name: rich
data:
  name: digits
  validation: 0.2
  test: 0.2
recipe:
  batch_size: {per_device: 16}
  class_weight: {0: 1.0, 1: 2.0}
  dropout: &dropout 0.1
  stochastic_depth: *dropout
search_space:
  variant: {type: choice, values: [b0, b1]}
  optimizer: &choice
    type: choice
    values: [sgd, adamw]
    reason: Two of three.
  schedule:
    <<: *choice
    values: [cosine, constant]
  maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}
  initial_learning_rate: {type: float, low: 1e-5, high: 1e-2, scale: log}
  momentum: {type: float, low: 0.8, high: 0.99, when: {optimizer: sgd}}
  epochs: {type: int, low: 4, high: 20, step: 4}
  flip: {type: fixed, value: true}
trials: 5
hours: 2.5
workers: 1
search:
  engine: random
  seed: 7
  halving: {rungs: [0.2, 0.5], keep: 0.5}
enqueue:
  - {variant: b0, optimizer: adamw, schedule: cosine, maximal_learning_rate: 1e-2,
     initial_learning_rate: 1e-3, epochs: 8, flip: true}
stop_when: {growth: 0.02, trials: 4}
"""
HOSTILE = (
    "2020-01-01",
    "-1",
    "0",
    "99999999999999999999",
    "1e999",
    "-.inf",
    ".nan",
    "null",
    "true",
    "''",
    "[]",
    "{}",
    "[[]]",
    "{a: {b: {c: 1}}}",
    "*nowhere",
    "&a [*a]",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!python/object/apply:os.system ['true']",
    "!unknown x",
    "x" * 300,
    "~nobody-at-all/x.h5",
    "'a\\0b'",
    '"\\0"',
    '"\\ud800"',
    '"\\e[31m\\n"',
    "'<<'",
    "0x7fffffff",
    "on",
    "1_000",
    "b0",
    "{per_device: 99999999}",
    "[sgd, sgd]",
    "- x",
    "|",
    "? x",
)


def texts() -> list[str]:
    """Valid study files: the shipped ones that need no file, one with its space inside, `RICH`."""
    studies = [path.read_text() for name, path in shipped_studies().items() if name != "photos"]
    space = shipped_spaces()["quickstart"].read_text()
    inside = "".join(f"  {line}\n" for line in space.splitlines())
    name = shipped_studies()["quickstart"].read_text()
    return [*studies, name.replace("search_space: quickstart", f"search_space:\n{inside}"), RICH]


# --- mutations ------------------------------------------------------------------------------------


def keep(text: str, draw: random.Random) -> str:
    """A change after which the file means the same."""
    lines = text.splitlines()
    at = draw.randrange(len(lines) + 1)
    between = draw.choice(places_of_comments(lines))
    return draw.choice(
        (
            "\n".join([*lines[:between], "# a comment: {", *lines[between:], ""]),
            "\n".join([*lines[:at], "", *lines[at:], ""]),
            "\r\n".join([*lines, ""]),
            f"---\n{text}",
            f"{text}...\n",
            f"\ufeff{text}",
            f"%YAML 1.2\n---\n{text}",
        )
    )


def places_of_comments(lines: list[str]) -> list[int]:
    """Where a line that begins with # is a comment: it ends a folded text, and what follows of
    the text would be an error.
    """
    places = []
    folded: int | None = None
    for at, line in enumerate([*lines, "end"]):
        indent = len(line) - len(line.lstrip())
        if folded is None or (line.strip() and indent <= folded):
            folded = indent if line.endswith((">-", ">", "|")) else None
            places.append(at)
    return places


def spoil(text: str, draw: random.Random) -> str:
    """A change after which the file is wrong, whatever else it has."""
    line = draw.choice(
        (
            "trails: 5",
            "name: twice",
            "2020-01-01: 3",
            "null: 3",
            "? [a]\n: b",
            "stop_when: !!set {a}",
            "hardware: 2020-01-01",
            "backend: 3",
            "accelerator_hours: -1",
            "keep: &k [*k]",
            "<<: {trials: 0, wrong: 1}",
            "<<: 3",
            "\tkeep: front",
            "clock: {recorded: nowhere}",
            "quality: [",
            "'x",
            "\x01",
            "stop_when: {growth: 0.1, trials: 99999999999999999999}",
        )
    )
    return f"{text}{line}\n"


def change(text: str, draw: random.Random) -> str:
    """A change that may do anything."""
    return draw.choice((change_characters, change_lines, change_scalar))(text, draw)


def change_characters(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text))
    before, after = text[:place], text[place:]
    inserted = draw.choice("{}[]:,*&!|>%@`#'\"\t\n -?~\x00\x85é\U0001f600\udcff")
    flipped = chr(ord(text[place]) ^ (1 << draw.randrange(7)))
    return draw.choice(
        (
            before + after[draw.randrange(1, 9) :],
            before + inserted + after,
            before + flipped + after[1:],
            before,
        )
    )


def change_lines(text: str, draw: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.choice(("swap", "repeat", "delete", "indent"))
    if kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "repeat":
        lines.insert(at, lines[other])
    elif kind == "delete":
        del lines[at]
    else:
        lines[at] = " " * draw.randrange(1, 5) + lines[at]
    return "".join(lines)


def change_scalar(text: str, draw: random.Random) -> str:
    pattern, replacements = draw.choice(
        (
            (r"\d+", ("0", "-7", "9" * 20, "1" * 5_000)),
            (r"(?<=: )[^{\[\n#]+?(?=[,}\]\n])", HOSTILE),
            (r"\w+(?=: )", (*HOSTILE, "<<")),
        )
    )
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = draw.choice(found)
    return text[: match.start()] + draw.choice(replacements) + text[match.end() :]


# --- bombs ----------------------------------------------------------------------------------------


def study(**sections: str) -> str:
    """A small study with other sections."""
    parts = {"name": "x", "trials": "2", "search_space": "{epochs: {type: int, low: 1, high: 3}}"}
    return "".join(f"{key}: {value}\n" for key, value in (parts | sections).items())


def nested_anchors(levels: int, width: int, opening: str = "[", closing: str = "]") -> str:
    rows = [f"a0: &a0 {opening}x{closing}"]
    for level in range(1, levels):
        aliases = ",".join(
            f"*a{level - 1}" if opening == "[" else f"k{i}: *a{level - 1}" for i in range(width)
        )
        rows.append(f"a{level}: &a{level} {opening}{aliases}{closing}")
    return "\n".join([*rows, ""])


def merged_anchors(levels: int) -> str:
    rows = ["a0: &a0 {x: 1}"]
    rows += [
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, levels)
    ]
    return "\n".join([*rows, ""])


def choice(values: list[Any]) -> str:
    return json.dumps({"type": "choice", "values": values})


def bombs() -> dict[str, str]:
    """Hostile study files by name; each is wrong."""
    many = "".join(f"k{i}: 1\n" for i in range(4_500))
    found = {f"anchors-{n}": nested_anchors(n, 9) for n in (5, 7, 9, 12, 40)}
    found |= {f"anchor-maps-{n}": nested_anchors(n, 9, "{", "}") for n in (5, 12)}
    found |= {f"merges-{n}": merged_anchors(n) for n in (5, 12)}
    found |= {
        f"{name}-{n}": study(recipe=opening * n)
        for name, opening in (("lists", "["), ("maps", "{a: "), ("keys", "? "), ("items", "- "))
        for n in (30, 1_000, 20_000)
    }
    found |= {f"closed-{n}": study(recipe="[" * n + "]" * n) for n in (21, 1_000, 30_000)}
    inside = {
        "date": "{seed: 2020-01-01}",
        "binary": "{seed: !!binary aGVsbG8=}",
        "set": "{seed: !!set {a, b}}",
        "python": "{seed: !!python/object/apply:os.system ['touch hacked']}",
        "unknown-tag": "!x {}",
        "merge": "{<<: {epochs: -4}}",
        "merge-list": "{<<: [{epochs: -4}, {unknown: 1}]}",
        "merge-scalar": "{<<: 3}",
        "self": "&a {<<: *a}",
        "self-list": "{weights: &a [*a]}",
        "number-key": "{1: 2}",
        "null-key": "{null: 2}",
        "list-key": "{[a]: 2}",
        "empty-key": "{? : 2}",
        "long-key": f"{{{'k' * 1_000}: 2}}",
        "long-word": f"{{optimizer: {'w' * 60_000}}}",
        "long-weights": f"{{backbone: frozen, weights: {'w' * 300}.h5}}",
        "unknown-home": "{backbone: frozen, weights: ~nobody-at-all/w.h5}",
        "nul": '{backbone: frozen, weights: "a\\0.h5"}',
        "surrogate": '{optimizer: "\\ud800"}',
        "epochs": "{batch_size: 99999999999999999999}",
        "batch": "{batch_size: 1000001}",
        "resolution": "{resolution: 1000000000}",
        "digits": f"{{resolution: {'9' * 5_000}}}",
        "infinite": "{weight_decay: 1e999}",
        "labels": f"{{class_weight: {{{', '.join(f'{i}: -1' for i in range(4_000))}}}}}",
    }
    found |= {name: study(recipe=text) for name, text in inside.items()}
    spaces = {
        "range": "{epochs: {type: int, low: 1, high: 99999999999999999999}}",
        "wide-range": "{epochs: {type: int, low: 1, high: 1000000000}}",
        "pixels": "{resolution: {type: int, low: 32, high: 1000000000}}",
        "space-key": "{5: {type: int, low: 1, high: 2}}",
        "space-name": "a" * 300,
        "space-path": "a/" * 5_000,
        "space-self": "study.yaml",
        "space-list": f"[{','.join('x' * 9_000)}]",
        "shorthand": f"{{dropout: [{','.join('9' * 9_000)}]}}",
        "choices": f"{{dropout: {choice([n / 9_000 for n in range(8_000)])}}}",
        "combinations": (
            f"{{weights: {choice([f'w{n}' for n in range(900)])}, variant: {choice(['b0', 'b1'])}, "
            f"optimizer: {choice(['sgd', 'adamw', 'adabelief'])}, "
            f"backbone: {choice(['scratch', 'frozen', 'finetune'])}}}"
        ),
        "conditions": (
            f"{{seed: {choice(list(range(900)))}, split: 3, epochs: {choice(list(range(1, 900)))}, "
            "finetune_from: {type: int, low: 0, high: 7, when: {seed: 1, epochs: 1}}}"
        ),
        "stages": (
            f"{{seed: {choice(list(range(900)))}, epochs: {choice(list(range(1, 900)))}, "
            "finetune_from: {type: int, low: 0, high: 7, when: {seed: 1, epochs: 1}}}"
        ),
    }
    found |= {name: study(search_space=text) for name, text in spaces.items()}
    found |= {
        "unknown-keys": study() + many,
        "unknown-parameters": study(search_space="\n  " + many.replace("\n", "\n  ")),
        "many-keys": study() + "".join(f"k{i}: 1\n" for i in range(20_000)),
        "many-items": study(enqueue=f"[{'{},' * 9_000}]"),
        "wrong-items": study(enqueue=f"[{'x,' * 9_000}]"),
        "many-rungs": study(search=f"{{halving: {{rungs: [{'0.1,' * 9_000}]}}}}"),
        "large-file": study() + "#" * 2_000_000,
        "trials": study(trials="99999999999999999999"),
        "more-trials": study(trials="1000000000"),
        "hours": study(hours="1e300"),
        "path": study(data=f"{{name: npz, path: {'p' * 300}.npz}}"),
        "clock": study(clock=f"{{recorded: {'p' * 300}}}"),
        "names": study(name="n" * 60_000),
        "mapping-for-word": study(quality=f"[{'[a],' * 4_000}]"),
        "documents": study() + "---\n" * 10_000,
        "quotes": study(name="'" * 60_001),
        "utf-16": "\ufeffn\0a\0m\0e\0",
    }
    return found


# --- tests ----------------------------------------------------------------------------------------


def check(text: str, capsys: pytest.CaptureFixture[str]) -> str | None:
    """The plan as JSON where `check` exits 0; None where it reports mistakes, each with a line."""
    # Surrogates stand for bytes that are not UTF-8.
    Path("study.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    code = run(["check", "study.yaml", "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if code == 0:
        plan = json.loads(out)
        assert plan.pop("start")["would_start"] is True
        return json.dumps(plan)
    assert code == 2, err
    assert_mistakes(err)
    return None


def assert_mistakes(err: str) -> None:
    *mistakes, count = err.removeprefix("Error: ").strip().splitlines()
    assert mistakes, err
    assert all(MISTAKE.match(line) for line in mistakes), err
    assert count in (f"{len(mistakes)} errors.", "1 error."), err


def assert_valid(text: str, plan: str) -> None:
    """The plan is what another reader of YAML sees in the file, and its configs can be trained."""
    data = YAML(typ="safe", pure=True).load(text)
    space = data["search_space"]
    if isinstance(space, str):
        data["search_space"] = YAML(typ="safe", pure=True).load(shipped_spaces()[space].read_text())
    seen = StudyPlan.model_validate_json(json.dumps(data))
    assert StudyPlan.model_validate_json(plan) == seen
    draw = random.Random(0)  # noqa: S311 - no secret
    for _ in range(3):
        seen.recipe_for(draw_config(seen.search_space, draw))


def fuzz(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    text = draw.choice(texts())
    mutations: tuple[Callable[[str, random.Random], str], ...] = (keep, spoil, change, change)
    mutate = mutations[seed % 4]
    for _ in range(draw.randrange(1, 4) if mutate is change else 1):
        text = mutate(text, draw) or "\n"
    plan = check(text, capsys)
    if mutate is not change:
        assert (plan is not None) == (mutate is keep), text
    if plan is not None:
        assert_valid(text, plan)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, full_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, on a machine that need not download anything."""
    del full_cache
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    texts(),
    ids=[*(name for name in shipped_studies() if name != "photos"), "inside", "rich"],
)
def test_the_files_that_are_mutated_are_valid(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = check(text, capsys)

    assert plan is not None
    assert_valid(text, plan)


@pytest.mark.parametrize("seed", range(FAST))
def test_a_mutated_study_file_is_valid_or_refused_with_lines(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz(seed, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, ALL, 61))
def test_many_mutated_study_files_are_valid_or_refused_with_lines(
    first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(first, min(first + 61, ALL)):
        fuzz(seed, capsys)


@pytest.mark.parametrize("name", bombs())
def test_a_hostile_study_file_is_refused_with_lines(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(bombs()[name], capsys) is None
    assert [path.name for path in folder.iterdir()] == ["study.yaml"]


#: Checks study files and prints for each its exit code, its messages, and the seconds on the
#: processor that a command of its own takes: those of the start and the imports are added.
_CHECK = """
import contextlib, io, json, sys, time
from effv2_tune.cli import run
start = time.process_time()
for path in sys.argv[1:]:
    messages, before = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(messages):
        code = run(["check", path])
    print(json.dumps([path, code, messages.getvalue(), start + time.process_time() - before]))
"""
#: Runs a command and prints its memory at most. In a small process of its own, because a process
#: starts with its parent's memory as its maximum.
_MEASURE = """
import os, resource, sys
os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
def test_hostile_study_files_take_little_time_and_memory() -> None:
    """Time is that of the processor, so that a busy machine does not fail the test."""
    for name, text in bombs().items():
        Path(f"{name}.yaml").write_text(text)
    check = [sys.executable, "-c", _CHECK, *(f"{name}.yaml" for name in bombs())]

    measured = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *check], capture_output=True, text=True, check=True
    )

    *lines, memory = measured.stdout.splitlines()
    assert len(lines) == len(bombs())
    for path, code, messages, seconds in map(json.loads, lines):
        assert code == 2, path
        assert_mistakes(messages)
        assert seconds < MAX_SECONDS, path
    assert int(memory) * (1 if sys.platform == "darwin" else 1024) < MAX_BYTES
