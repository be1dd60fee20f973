"""``effv2-tune plan``: what a study will cost, before anything is trained."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command(
    epilog="\b\nExamples:\n  effv2-tune plan quickstart\n  effv2-tune plan study.yaml --json"
)
@click.argument("study")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(study: str, *, as_json: bool) -> None:
    """Say what a study will cost, before anything is trained.

    For each network and size: parameters, floating-point operations of one training image and
    of one epoch, and the size of a checkpoint; and how large the images are. Loads the images of
    STUDY to count them. Seconds are not predicted: they are measured, when the study runs.
    """
    from effv2_tune.data import describe, load_dataset
    from effv2_tune.session.forecast import data_bytes, forecast
    from effv2_tune.session.preflight import check_study
    from effv2_tune.study import load_plan

    plan, base = load_plan(study)
    check_study(study, plan, base=base)
    dataset = load_dataset(plan.data, base=base, storage_size=plan.largest_resolution)
    facts = dataset.facts()
    rows = forecast(plan, facts.classes)
    if as_json:
        listing = {
            "data": facts.model_dump() | {"bytes": data_bytes(facts)},
            "networks": [
                asdict(row) | {"epoch_flops": row.train_flops * facts.train} for row in rows
            ],
        }
        click.echo(json.dumps(listing, indent=2))
        return
    for line in describe(dataset, quality=plan.quality).lines():
        click.echo(line)
    click.echo(
        f"{'network':>9} {'weights':>9} {'GFLOP/image':>12} {'TFLOP/epoch':>12} {'checkpoint':>11}"
    )
    for row in rows:
        click.echo(
            f"{row.variant + '@' + str(row.resolution):>9} {row.parameters / 1e6:>7.1f} M "
            f"{row.train_flops / 1e9:>12.3f} {row.train_flops * facts.train / 1e12:>12.2f} "
            f"{row.checkpoint_bytes / 1e6:>8.0f} MB"
        )
