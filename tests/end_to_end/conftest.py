"""Studies small enough to run in a moment, and workers that train nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.search.events import Event

SCRIPTED_WORKER = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))

SPACE = {
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    "resolution": {"type": "choice", "values": [32, 64]},
}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command of scripted workers that do nothing wrong."""
    monkeypatch.delenv("SCRIPT", raising=False)
    return SCRIPTED_WORKER


@pytest.fixture
def make_plan() -> Callable[..., StudyPlan]:
    """A function that makes a plan; its keywords are the study file's keys."""

    def make(**changes: Any) -> StudyPlan:
        written = {
            "name": "tiny",
            "recipe": {"epochs": 6, "schedule": "constant"},
            "search_space": SPACE,
            "trials": 8,
        }
        return StudyPlan.model_validate_json(json.dumps(written | changes))

    return make


@pytest.fixture
def run_scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Event]]:
    """A function that runs a study with scripted workers, and returns what happened."""

    def run(
        plan: StudyPlan,
        out: Path,
        *,
        script: dict[str, Any] | None = None,
        backend: Literal["tensorflow", "jax"] = "tensorflow",
        on_event: Callable[[Event], None] = lambda _: None,
        **options: Any,
    ) -> list[Event]:
        monkeypatch.setenv("SCRIPT", json.dumps(script or {}))
        with open_study(plan, out, base=out) as study:
            story = study.run(
                hardware="cpu", backend=backend, worker_command=SCRIPTED_WORKER, **options
            )
            happened = []
            for event in story:
                happened.append(event)
                on_event(event)
            return happened

    return run
