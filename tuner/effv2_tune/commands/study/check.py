"""``effv2-tune check``: is this study file right?"""

from __future__ import annotations

import click


@click.command(
    epilog="\b\nExamples:\n  effv2-tune check study.yaml\n  effv2-tune check quickstart --json"
)
@click.argument("study")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON, every default in.")
def command(study: str, *, as_json: bool) -> None:
    """Say whether a study file is right.

    Reads STUDY (a file, or a shipped study's name), its search space and the outside of its data;
    trains and downloads nothing. Every mistake is told at once, with its line.
    """
    from effv2_tune.session.preflight import check_study
    from effv2_tune.study import load_plan

    plan, base = load_plan(study)
    check_study(study, plan, base=base)
    if as_json:
        click.echo(plan.model_dump_json(indent=2))
    else:
        searched = ", ".join(one.name for one in plan.search_space.dimensions())
        click.echo(f"{study} is right: {plan.name} searches {searched}.")
