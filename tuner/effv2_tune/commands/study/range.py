"""``effv2-tune range``: finds the range of useful learning rates of a study's buckets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import COUNT, POSITIVE
from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.optimizers.range_test import Bounds
    from effv2_tune.session.range_test.testing import BucketRange, RangeTestSettings

_LEAST_STEPS = 50


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune range study.yaml\n"
    "  effv2-tune range study.yaml --write\n"
    "  effv2-tune range study.yaml --steps 500 --high 1 --picture range.png\n"
    "  effv2-tune range quickstart --json | jq '.proposal'"
)
@click.argument("study")
@click.option(
    "--steps",
    type=click.IntRange(min=_LEAST_STEPS),
    default=300,
    show_default=True,
    metavar="N",
    help="Optimizer steps of a test.",
)
@click.option(
    "--low",
    type=POSITIVE,
    default=1e-6,
    show_default=True,
    metavar="RATE",
    help="Learning rate of the first step.",
)
@click.option(
    "--high",
    type=POSITIVE,
    default=10.0,
    show_default=True,
    metavar="RATE",
    help="Learning rate of the last step; a test ends earlier once the loss diverges.",
)
@click.option(
    "--at-most",
    type=COUNT,
    default=8,
    show_default=True,
    metavar="N",
    help="How many buckets, the most frequent first.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Write the bounds into the search space of STUDY, where it has ranges for them. Comments "
    "and layout stay; the file as it was is kept beside it.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the losses as a picture: .png, .svg or .pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    study: str,
    *,
    steps: int,
    low: float,
    high: float,
    at_most: int,
    write: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Find the range of useful learning rates of a study.

    The learning-rate range test (Smith, arXiv 1506.01186): for each bucket (trials that share a
    compiled step) a few hundred steps are trained while the learning rate rises exponentially, and
    the loss is shown against it. Proposes bounds of initial_learning_rate and
    maximal_learning_rate: for each bucket, and for all of them together. Trains on the training
    images only; nothing that it trains is kept.
    """
    from effv2_tune.data import load_dataset
    from effv2_tune.report.figures.picture import check_picture
    from effv2_tune.session.preflight import check_study
    from effv2_tune.session.range_test.study_edit import check_writable, write_bounds
    from effv2_tune.session.range_test.testing import (
        RangeTestSettings,
        joint_proposal,
        run_range_test,
    )
    from effv2_tune.study import load_plan

    if low >= high:
        raise TuneError(f"--low {low:g} is not below --high {high:g}.", hint="Swap them.")
    loaded = load_plan(study)
    check_study(loaded)
    if write:
        check_writable(loaded, Path(loaded.source.name))
    if picture is not None:
        check_picture(picture)
    plan, base = loaded.plan, loaded.base
    dataset = load_dataset(plan.data, base=base, storage_size=plan.largest_resolution)
    settings = RangeTestSettings(low, high, steps, at_most)
    tested = run_range_test(plan, dataset, settings, base=base, on_start=_print_start)
    found: dict[str, Any] = {"picture": None, "written": None, "copy": None}
    if picture is not None:
        found["picture"] = str(_draw(tested, settings, picture))
    if not as_json:
        _print_tests(tested, settings)
    bounds = joint_proposal(tested)
    if write:
        copy = write_bounds(loaded, Path(loaded.source.name), bounds)
        found |= {"written": loaded.source.name, "copy": str(copy)}
    _print_proposal(tested, settings, bounds, found, as_json=as_json)


def _print_start(share: BucketShare, index: int, count: int) -> None:
    click.echo(f"testing {index}/{count}: {share.key.label}", err=True)


def _draw(tested: list[BucketRange], settings: RangeTestSettings, path: Path) -> Path:
    from effv2_tune.report.figures.learning_rates import write_range_picture
    from effv2_tune.session.range_test.text import curves

    return write_range_picture(curves(tested, settings), path)


def _print_tests(tested: list[BucketRange], settings: RangeTestSettings) -> None:
    from effv2_tune.session.range_test.text import lines

    for line in lines(tested, settings):
        print_message(line)


def _print_proposal(
    tested: list[BucketRange],
    settings: RangeTestSettings,
    bounds: dict[str, Bounds],
    found: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from effv2_tune.session.range_test.text import as_data, proposal_lines

    if as_json:
        proposal = {name: vars(its) for name, its in bounds.items()}
        data = {"buckets": as_data(tested, settings), "proposal": proposal} | found
        click.echo(json.dumps(data, indent=2))
        return
    print_message("search_space:")
    for line in proposal_lines(bounds):
        print_message(line)
    if found["written"] is not None:
        click.echo(f"Written to {found['written']}; as it was: {found['copy']}", err=True)
