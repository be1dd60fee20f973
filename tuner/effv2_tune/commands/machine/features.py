"""``effv2-tune features``: lists or removes the cached features of frozen backbones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from effv2_tune.training.features.cache import Entry, FeatureCache

_GB = 1e9


@click.command(
    epilog="\b\nExamples:\n  effv2-tune features\n  effv2-tune features --clear\n"
    "  effv2-tune features --json"
)
@click.option("--clear", is_flag=True, help="Remove all cached features.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, clear: bool, as_json: bool) -> int:
    """List or remove the cached features of frozen backbones.

    With `backbone: frozen` the network runs once over the images; its features are cached for all
    trials and studies, in the cache folder (EFFV2_TUNE_CACHE), up to 20 GB
    (EFFV2_TUNE_FEATURES_GB). The least recently used are removed first. With --clear, features
    that another process is writing are kept, and the exit code is 1.
    """
    from effv2_tune.training.features.cache import FeatureCache

    cache = FeatureCache()
    entries = cache.entries()
    gone = [clear and cache.remove(entry) for entry in entries]
    if as_json:
        removed = [
            str(entry.folder) for entry, is_gone in zip(entries, gone, strict=True) if is_gone
        ]
        click.echo(json.dumps(as_facts(cache) | {"removed": removed}, indent=2))
    else:
        for entry, is_gone in zip(entries, gone, strict=True):
            print_message(("removed  " if is_gone else "") + _line(entry))
        print_message(summary(cache))
    return EXIT_FAILED if clear and not all(gone) else EXIT_DONE


def summary(cache: FeatureCache) -> str:
    """Number, size and folder of the feature sets."""
    entries = cache.entries()
    total = sum(entry.nbytes for entry in entries)
    sets = "1 set" if len(entries) == 1 else f"{len(entries)} sets"
    return f"{sets}, {total / _GB:.2f} of {cache.limit / _GB:g} GB, in {cache.folder}"


def as_facts(cache: FeatureCache) -> dict[str, Any]:
    """All feature sets as plain data, the least recently used first."""
    return {
        "folder": str(cache.folder),
        "limit_bytes": cache.limit,
        "sets": [_as_json(entry) for entry in cache.entries()],
    }


def _line(entry: Entry) -> str:
    arrays = ", ".join([*entry.arrays, *(f"{name} (unfinished)" for name in entry.unfinished)])
    parts = [entry.label, arrays, f"{entry.nbytes / _GB:.3f} GB"]
    if entry.facts is not None:
        key = entry.facts.key
        parts[1:1] = [entry.facts.weights_name, entry.facts.source]
        parts.append(f"{key.backend}, {key.device_kind}, {key.precision}")
    parts.append(f"used {datetime.fromtimestamp(entry.used, UTC):%Y-%m-%d}")
    return "  ".join(filter(None, parts))


def _as_json(entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    return {
        "folder": str(entry.folder),
        "source": None if facts is None else facts.source,
        "weights": None if facts is None else facts.weights_name,
        "key": None if facts is None else facts.key.model_dump(),
        "bytes": entry.nbytes,
        "used": entry.used,
        "arrays": entry.arrays,
        "unfinished": entry.unfinished,
    }
