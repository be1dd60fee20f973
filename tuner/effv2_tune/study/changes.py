"""How a study file differs from the one that its study began with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effv2_tune.study.plan import StudyPlan

#: What may change while the trials so far keep counting: how much, how long, by how many, how the
#: next config is found, and between which bounds.
CHANGEABLE = frozenset(
    {
        "trials",
        "hours",
        "accelerator_hours",
        "workers",
        "stop_when",
        "keep",
        "hardware",
        "backend",
        "search",
        "search_space",
        "enqueue",
    }
)


def plan_changes(before: StudyPlan, now: StudyPlan) -> list[str]:
    """Each key that differs, as ``key: old -> new``, nested keys with dots."""
    old, new = (json.loads(one.model_dump_json()) for one in (before, now))
    return list(_differences(old, new, ""))


def forbidden_changes(before: StudyPlan, now: StudyPlan) -> list[str]:
    """Those of the changes under which earlier trials would mean something else."""
    return [
        change
        for change in plan_changes(before, now)
        if change.split(":", 1)[0].split(".", 1)[0] not in CHANGEABLE
    ]


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            inner = f"{path}.{key}" if path else str(key)
            if key not in new:
                found.append(f"{inner}: {json.dumps(old[key])} -> left out")
            elif key not in old:
                found.append(f"{inner}: new, {json.dumps(new[key])}")
            else:
                found += _differences(old[key], new[key], inner)
        return found
    return [] if old == new else [f"{path}: {json.dumps(old)} -> {json.dumps(new)}"]
