"""Decides whether a study can be continued with an edited plan, and lists what changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Collection

    from effv2_tune.study.plan import StudyPlan

#: Keys that may change while the finished trials keep counting: budgets, workers, device,
#: cluster, sampler and search space.
CHANGEABLE = frozenset(
    {
        "trials",
        "hours",
        "accelerator_hours",
        "workers",
        "devices_per_worker",
        "cluster",
        "stop_when",
        "keep",
        "hardware",
        "backend",
        "search",
        "search_space",
        "enqueue",
    }
)


def refuse_another_study(names: Collection[str], now: StudyPlan, *, location: str) -> None:
    """Refuse a folder that holds studies of other names only.

    Args:
        names: The studies that it holds.
        now: The plan that is to be run there.
        location: The folder, for the message.

    Raises:
        TuneError: None of the studies is that of the plan.
    """
    if names and now.name not in names:
        raise TuneError(
            f"{location} holds another study, {min(names)}.",
            hint=f"Use a new folder for {now.name}: --out another-folder",
        )


def changes_since(before: StudyPlan, now: StudyPlan, *, location: str) -> list[str]:
    """Each key that differs, as ``key: old -> new``, nested keys with dots.

    Args:
        before: The plan that the study was last run with.
        now: The plan as it is now.
        location: The study's folder or database, for the message.

    Raises:
        TuneError: The trials so far are not comparable with those of the new plan.
    """
    refuse_another_study([before.name], now, location=location)
    old, new = (json.loads(plan.model_dump_json()) for plan in (before, now))
    changes = list(_differences(old, new, ""))
    forbidden = [
        change for change in changes if change.split(":", 1)[0].split(".", 1)[0] not in CHANGEABLE
    ]
    if forbidden:
        listed = "".join(f"\n  {line}" for line in forbidden)
        raise TuneError(
            f"{location} holds study {now.name} with another plan; its trials are not comparable "
            f"with those of the edited one:{listed}",
            hint="Restore the old values; or start a new study from this one's Pareto front: "
            f"--out another-folder --warm-start {location}",
        )
    return changes


def with_workers_of(before: StudyPlan, now: StudyPlan) -> StudyPlan:
    """The plan with the workers of its last run, where it leaves them to be chosen."""
    if now.workers != "auto" or before.workers == "auto":
        return now
    changes = {"workers": before.workers, "devices_per_worker": before.devices_per_worker}
    target = before.target if now.target is None else now.target
    return now.model_copy(update={**changes, "target": target})


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
