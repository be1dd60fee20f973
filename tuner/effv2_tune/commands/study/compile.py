"""``effv2-tune compile``: compiles the buckets of a study for a TPU that is not attached."""

from __future__ import annotations

import json
from pathlib import Path

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune compile study.yaml --device v5e-8\n"
    "  effv2-tune compile study.yaml --device v5e-8 --cache compiled\n"
    "  effv2-tune compile quickstart --device v6e-1 --json | jq '.buckets[].fits'"
)
@click.argument("study")
@click.option(
    "--device",
    metavar="NAME",
    required=True,
    help="The TPU host: v5e-1, v5e-4, v5e-8, v6e-1, v6e-4, v6e-8, v5p-8, v4-8, v3-8 or v2-8.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the compiled programs, to be copied to the TPU host.  [default: the folder "
    "'compiled' of the user's cache]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(study: str, *, device: str, cache: Path | None, as_json: bool) -> int:
    """Compile the buckets of a study for a TPU.

    Needs no TPU: the TPU's compiler is in the package libtpu (extra 'tpu-compiler'). Shows for each
    program of each bucket the processor time of its compilation, the memory of a device, FLOPs and
    bytes of a step, its time by the compiler's estimate (to compare, not a measurement), and the
    reductions over the devices. The compiled programs stay in the cache: copied to a TPU host with
    the same versions, they need not be compiled there. Loads the images of STUDY to count them. The
    exit code is 1 if a bucket does not fit.
    """
    from effv2_tune.data import load_dataset
    from effv2_tune.session.compilation_text import as_data, lines
    from effv2_tune.session.forecast import Forecaster
    from effv2_tune.session.location import RUNS
    from effv2_tune.session.preflight import check_study
    from effv2_tune.session.progress import CompilationProgress
    from effv2_tune.study import load_plan
    from effv2_tune.study.batches import check_batches
    from effv2_tune.workers.compiling import check_compiler
    from effv2_tune.workers.topology import find_topology

    find_topology(device)
    check_compiler()
    loaded = load_plan(study)
    check_study(loaded)
    plan, base = loaded.plan, loaded.base
    dataset = load_dataset(plan.data, base=base, storage_size=plan.largest_resolution)
    forecaster = Forecaster(plan, dataset, base=base, out=RUNS / plan.name, device=device)
    check_batches(plan, dataset.facts(), forecaster.target.placement.device_count)
    buckets = forecaster.forecast(session_hours=1.0).buckets
    with CompilationProgress(len(buckets)) as progress:
        forecaster.compile(buckets, cache=cache, on_start=progress.start, on_program=progress.show)
    forecast = forecaster.forecast(session_hours=1.0)
    if as_json:
        click.echo(json.dumps(as_data(forecast), indent=2))
    else:
        for line in lines(forecast):
            print_message(line)
    return EXIT_DONE if all(one.fits for one in forecast.buckets) else EXIT_FAILED
