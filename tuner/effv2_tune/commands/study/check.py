"""``effv2-tune check``: validates a study file."""

from __future__ import annotations

import click


@click.command(
    epilog="\b\nExamples:\n  effv2-tune check study.yaml\n  effv2-tune check quickstart --json"
)
@click.argument("study")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the plan as JSON, with every default filled in."
)
def command(study: str, *, as_json: bool) -> None:
    """Validate a study file.

    Reads STUDY (a file, or a shipped study's name) and its search space, and checks the data path
    (of CIFAR and MNIST the published files too; images are not decoded); trains and downloads
    nothing. All errors are reported at once, with file and line.
    """
    from effv2_tune.session.preflight import check_study
    from effv2_tune.study import load_plan

    loaded = load_plan(study)
    check_study(loaded)
    plan = loaded.plan
    if as_json:
        click.echo(plan.model_dump_json(indent=2))
    else:
        searched = ", ".join(one.name for one in plan.search_space.dimensions())
        click.echo(f"{study} is valid: {plan.name} searches {searched}.")
