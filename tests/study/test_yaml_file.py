"""YAML files: what is written is read back equal."""

from __future__ import annotations

import json

from effv2_tune.study.yaml_file import dump_yaml, parse_yaml


def test_yaml_that_was_written_is_read_back_equal() -> None:
    data = {"a": 1e-6, "b": {"c": [1, "on", None, True]}, "name": "x: y # z"}

    text = dump_yaml(data, header="made by hand\nfrom facts")

    assert text.startswith("# made by hand\n# from facts\n")
    assert parse_yaml(text, name="x").data == json.loads(json.dumps(data))
