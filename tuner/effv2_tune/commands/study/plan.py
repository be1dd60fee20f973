"""``effv2-tune plan``: estimates time, memory and disk of a study before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import COUNT, POSITIVE
from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.forecast.study import BucketForecast
    from effv2_tune.workers.messages import Measured


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune plan quickstart\n"
    "  effv2-tune plan study.yaml --measure\n"
    "  effv2-tune plan study.yaml --device v5e-8 --session-hours 9\n"
    "  effv2-tune plan study.yaml --device v5e-8 --compile largest\n"
    "  effv2-tune plan study.yaml --json | jq '.cost.hours'"
)
@click.argument("study")
@click.option(
    "--measure",
    is_flag=True,
    help="Compile the buckets that were not profiled yet in worker processes, time a few steps, "
    "and keep the results for later plans.",
)
@click.option(
    "--at-most",
    type=COUNT,
    default=8,
    show_default=True,
    metavar="N",
    help="With --measure: how many buckets, the cheapest first.",
)
@click.option(
    "--device",
    metavar="NAME",
    help="Plan for another device, such as v5e-8, v6e, t4-2, l4, a100 or h100.",
)
@click.option(
    "--compile",
    "compiled",
    type=click.Choice(["largest", "all"]),
    help="With --device and a TPU host: take memory and FLOPs of the largest bucket, or of all, "
    "from the TPU's compiler.",
)
@click.option(
    "--session-hours",
    type=POSITIVE,
    default=9.0,
    show_default=True,
    metavar="H",
    help="Length of one session; 9 hours is Kaggle's limit with a TPU.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the study, for its recorded step times and its disk.  [default: runs/NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    study: str,
    *,
    measure: bool,
    at_most: int,
    device: str | None,
    compiled: Literal["largest", "all"] | None,
    session_hours: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Estimate time, memory and disk of a study before training.

    For each bucket (trials that share a compiled step: a network at a resolution and batch size):
    parameters, FLOPs, memory compared with the device's, seconds per step, epoch and trial, and
    the source of these times: measured with --measure, recorded by earlier runs, or estimated by a
    roofline model. Then the peak disk usage, and the hours of the whole study in sessions of a
    given length. Loads the images of STUDY to count them.
    """
    from effv2_tune.data import describe, load_dataset
    from effv2_tune.session.forecast import Forecaster
    from effv2_tune.session.forecast_text import as_data, lines
    from effv2_tune.session.location import RUNS
    from effv2_tune.session.preflight import check_study
    from effv2_tune.session.progress import CompilationProgress
    from effv2_tune.study import load_plan

    if compiled is not None:
        _check_compile(device)
    if measure and device is not None:
        raise TuneError(
            f"--measure profiles this machine's device, not --device {device}.",
            hint="Use only one of them; to measure another device, run 'effv2-tune plan --measure' "
            "there.",
        )
    loaded = load_plan(study)
    check_study(loaded)
    plan, base = loaded.plan, loaded.base
    dataset = load_dataset(plan.data, base=base, storage_size=plan.largest_resolution)
    forecaster = Forecaster(plan, dataset, base=base, out=out or RUNS / plan.name, device=device)
    plan = forecaster.plan
    forecast = forecaster.forecast(session_hours=session_hours)
    if measure:
        forecaster.measure(
            forecast, at_most=at_most, on_start=_print_start, on_result=_print_result
        )
        forecast = forecaster.forecast(session_hours=session_hours)
    if compiled is not None:
        chosen = forecast.buckets
        if compiled == "largest":
            chosen = (max(chosen, key=lambda one: one.memory.total),)
        with CompilationProgress(len(chosen)) as progress:
            forecaster.compile(chosen, on_start=progress.start, on_program=progress.show)
        forecast = forecaster.forecast(session_hours=session_hours)
    free = forecaster.free_space()
    if as_json:
        click.echo(json.dumps(as_data(forecast, free), indent=2))
        return
    for line in describe(dataset, quality=plan.quality).lines():
        print_message(line)
    if forecaster.choice:
        print_message(forecaster.choice)
    for line in lines(forecast, plan, free):
        print_message(line)


def _check_compile(device: str | None) -> None:
    """Check, before images are loaded, that there is a device to compile for and a compiler."""
    from effv2_tune.workers.compiling import check_compiler
    from effv2_tune.workers.topology import find_topology

    if device is None:
        raise TuneError(
            "--compile needs the TPU host that is compiled for.",
            hint="Name it with --device, as in --device v5e-8.",
        )
    find_topology(device)
    check_compiler()


def _print_start(bucket: BucketForecast, index: int, count: int) -> None:
    click.echo(f"measuring {index}/{count}: {bucket.share.key.label}", err=True)


def _print_result(measured: Measured) -> None:
    from effv2_tune.session.forecast_text import milliseconds

    if measured.step_seconds is None:
        click.echo(f"  {measured.reason}", err=True)
        return
    start = measured.build_seconds + measured.compile_seconds
    click.echo(
        f"  {milliseconds(measured.step_seconds)} ms per step, "
        f"{measured.memory_bytes / 1e9:.2f} GB peak memory, {start:.0f} s to compile",
        err=True,
    )
