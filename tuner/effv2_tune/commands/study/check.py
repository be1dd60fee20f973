"""``effv2-tune check``: validates a study file, and whether the study would start here."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import storage, study_folder
from effv2_tune.errors import EXIT_DONE, MistakesError, TuneError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="\b\nExamples:\n  effv2-tune check study.yaml\n  effv2-tune check quickstart --json"
)
@click.argument("study")
@study_folder
@storage
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the plan as JSON, with every default filled in, and under 'start' whether the "
    "study would start.",
)
def command(study: str, *, out: Path | None, storage: str | None, as_json: bool) -> int:
    """Validate a study file.

    Reads STUDY (a file, or a shipped study's name) and its search space, and checks the data path
    (of CIFAR and MNIST the published files too; images are not decoded). All errors are reported at
    once, with file and line. Then checks whether 'effv2-tune run' would start the study on this
    machine: batch sizes, device, packages, folder or database, and that the servers of weights and
    data have what is not in the cache. Trains, writes and downloads nothing. The exit code is 2
    where the input is wrong, and 1 where a server, a disk or a database fails.
    """
    from effv2_tune.session.study import Study

    try:
        loaded = Study.load(study, out=out, storage=storage)
    except TuneError as refusal:
        if as_json:
            click.echo(json.dumps({"start": _refusal(refusal)}, indent=2))
        raise
    plan, startup, error = loaded.plan, None, None
    try:
        startup = loaded.startup()
    except TuneError as refusal:
        error = refusal
    if as_json:
        start = _refusal(error) if startup is None else {"would_start": True, **startup.as_data()}
        click.echo(json.dumps({**json.loads(plan.model_dump_json()), "start": start}, indent=2))
    else:
        searched = ", ".join(one.name for one in plan.search_space.dimensions())
        print_message(f"{study} is valid: {plan.name} searches {searched}.")
    if error is not None:
        click.echo(f"Error: {error}", err=True)
    if not as_json:
        for hint in () if startup is None else startup.hints:
            print_message(f"Hint: {hint}")
        verdict = "not start" if startup is None else f"start: {startup.summary}"
        print_message(f"{loaded.command!r} would {verdict}.")
    return EXIT_DONE if error is None else error.exit_code


def _refusal(error: TuneError | None) -> dict[str, Any]:
    """Why a study would not start, for programs."""
    errors: list[dict[str, Any]] = []
    if isinstance(error, MistakesError):
        errors = [dataclasses.asdict(one) for one in error.mistakes]
    elif error is not None:
        errors = [{"message": error.message, "hint": error.hint}]
    return {"would_start": False, "errors": errors}
