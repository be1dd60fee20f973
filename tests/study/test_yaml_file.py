"""YAML files: what is written is read back equal."""

from __future__ import annotations

import json

import pytest

from effv2_tune.errors import MistakesError
from effv2_tune.study.yaml_file import dump_yaml, parse_yaml


def test_yaml_that_was_written_is_read_back_equal() -> None:
    data = {"a": 1e-6, "b": {"c": [1, "on", None, True]}, "name": "x: y # z"}

    text = dump_yaml(data, header="made by hand\nfrom facts")

    assert text.startswith("# made by hand\n# from facts\n")
    assert parse_yaml(text, name="x").data == json.loads(json.dumps(data))


def test_merge_keys_and_aliases_have_the_lines_of_what_they_repeat() -> None:
    file = parse_yaml("a: &a {b: 1,\n  c: 2}\nd:\n  <<: [*a, {e: 5}]\n  b: 3\n7: *a\n", name="x")

    assert file.data == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 3, "c": 2, "e": 5},
        "7": {"b": 1, "c": 2},
    }
    assert [file.line_of(["d", key]) for key in ("b", "c", "e")] == [5, 2, 4]
    assert file.line_of(["7", "c", "no such key"]) == 2


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a: 1\nb: 2020-01-01", ["x:2: 2020-01-01 is a date; put it in quotes to write a word"]),
        ("a: !!set {b}", ["x:1: the tag !!set is not allowed; write the value without a tag"]),
        ("a: &a\n  - *a", ["x:2: *a is inside the value that it repeats"]),
        ("null: 1", ["x:1: the key 'null' is not a word; put it in quotes"]),
        ("007: 1", ["x:1: the key '007' is not a word; put it in quotes"]),
        ("? [a]\n: 1", ["x:1: a key is a word, not a list or a mapping"]),
        ("a:\n  <<: 3", ["x:2: '<<' merges a mapping or a list of mappings, nothing else"]),
        ("a:\n  <<: {b: 1, b: 2}", ["x:2: not valid YAML: found duplicate key 'b'"]),
        ('a: "\\0"', ["x:1: the text has the control character U+0000; remove it"]),
        (
            f"a: {2**63}",
            [f"x:1: the number {2**63} is too large; use at most {2**63 - 1}"],
        ),
        ("a:\n" + "[" * 20, ["x:2: more than 20 levels of lists and mappings"]),
        (
            "a: &a [" + "1," * 3_000 + "]\nb: &b [*a, *a]\nc: *b",
            [
                (
                    "x:3: more than 10,000 keys and values, counting those of each alias again; "
                    "shorten the file"
                )
            ],
        ),
    ],
)
def test_what_is_not_plain_data_is_refused_at_its_line(text: str, mistakes: list[str]) -> None:
    with pytest.raises(MistakesError) as caught:
        parse_yaml(text, name="x")

    assert [str(mistake) for mistake in caught.value.mistakes] == mistakes
