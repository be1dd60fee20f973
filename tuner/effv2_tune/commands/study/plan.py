"""``effv2-tune plan``: what a study will cost, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.forecast.study import BucketForecast
    from effv2_tune.workers.messages import Measured


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune plan quickstart\n"
    "  effv2-tune plan study.yaml --measure\n"
    "  effv2-tune plan study.yaml --device v5e-8 --session-hours 9\n"
    "  effv2-tune plan study.yaml --json | jq '.cost.hours'"
)
@click.argument("study")
@click.option(
    "--measure",
    is_flag=True,
    help="Build buckets that were not timed yet in worker processes, time a few steps, and keep "
    "the result for later plans.",
)
@click.option(
    "--at-most",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="With --measure: how many buckets, the cheapest first.",
)
@click.option(
    "--device",
    metavar="NAME",
    help="Plan for a device that is not here, such as v5e-8, v6e, t4-2, l4, a100 or h100.",
)
@click.option(
    "--session-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=9.0,
    show_default=True,
    metavar="H",
    help="Length of the sessions that the cost is counted in; 9 is Kaggle's with a TPU.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the study, for what it has recorded and for its disk.  [default: runs/NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    study: str,
    *,
    measure: bool,
    at_most: int,
    device: str | None,
    session_hours: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what a study will cost, before anything is trained.

    For each bucket (what is compiled once: a network at a size with a batch): weights,
    floating-point operations, memory against the device's, seconds of a step, of an epoch and of a
    whole trial, and where these come from: measured with --measure, recorded by earlier runs, or a
    roofline, which says so. Then the disk at its worst moment, and the hours of the whole study, in
    sessions of a stated length. Loads the images of STUDY to count them.
    """
    from effv2_tune.data import describe, load_dataset
    from effv2_tune.session.forecast import Forecaster
    from effv2_tune.session.forecast_text import as_data, lines
    from effv2_tune.session.location import RUNS
    from effv2_tune.session.preflight import check_study
    from effv2_tune.study import load_plan
    from effv2_tune.study.batches import check_batches

    if measure and device is not None:
        raise TuneError(
            f"--measure times this machine's device, and --device {device} is not here.",
            hint="Leave out one of them; on that device, 'effv2-tune plan --measure' alone.",
        )
    loaded = load_plan(study)
    check_study(loaded)
    plan, base = loaded.plan, loaded.base
    dataset = load_dataset(plan.data, base=base, storage_size=plan.largest_resolution)
    forecaster = Forecaster(plan, dataset, base=base, out=out or RUNS / plan.name, device=device)
    check_batches(plan, dataset.facts(), forecaster.target.placement.device_count)
    forecast = forecaster.forecast(session_hours=session_hours)
    if measure:
        forecaster.measure(forecast, at_most=at_most, tell=_tell, told=_told)
        forecast = forecaster.forecast(session_hours=session_hours)
    room = forecaster.room()
    if as_json:
        click.echo(json.dumps(as_data(forecast, room), indent=2))
        return
    for line in describe(dataset, quality=plan.quality).lines():
        click.echo(line)
    for line in lines(forecast, plan, room):
        click.echo(line)


def _tell(bucket: BucketForecast, place: int, count: int) -> None:
    click.echo(f"measuring {place}/{count}: {bucket.share.key.label}", err=True)


def _told(measured: Measured) -> None:
    from effv2_tune.session.forecast_text import milliseconds

    if measured.step_seconds is None:
        click.echo(f"  {measured.reason}", err=True)
        return
    start = measured.build_seconds + measured.compile_seconds
    click.echo(
        f"  {milliseconds(measured.step_seconds)} ms a step, "
        f"{measured.memory_bytes / 1e9:.2f} GB at most, {start:.0f} s to compile",
        err=True,
    )
