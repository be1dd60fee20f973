"""Runs a study to the end of its budget, its session or a signal, and shows its results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from effv2_tune.interruption import StudyInterrupt, exits_after_signals, exits_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.interruption import StopRequest
    from effv2_tune.session.results import Results
    from effv2_tune.session.study import Study


def run_and_show(
    study: Study,
    run: Callable[[], object],
    *,
    stop: StopRequest,
    session_hours: float | None,
    as_json: bool,
) -> Results | None:
    """Run a study, print its front, and write its report; also after a signal.

    Args:
        study: What is run.
        run: Runs it until ``stop`` is due.
        stop: Of this call.
        session_hours: Hours until this call ends; None for no limit.
        as_json: Whether the front is printed as JSON.

    Returns:
        None where the session ended before the budget: the command that continues was printed.

    Raises:
        StudyInterrupt: After a signal, once the results are shown.
    """
    stop.limit_session(session_hours)
    with exits_at(stop.ends_at, _session_over(study)), exits_after_signals():
        try:
            run()
        except StudyInterrupt:
            _show(study, as_json=as_json)
            raise
        results = _show(study, as_json=as_json)
    if results.record.ended_by is not None:
        return results
    click.echo(_session_over(study), err=True)
    return None


def _show(study: Study, *, as_json: bool) -> Results:
    """Print the front, and write the report."""
    results = study.results()
    if as_json:
        click.echo(json.dumps(results.status(), indent=2))
    else:
        results.print_front()
    click.echo(f"Report: {study.report()}", err=True)
    return results


def _session_over(study: Study) -> str:
    return f"The session is over, and the study is not done. To continue: {study.command}"
