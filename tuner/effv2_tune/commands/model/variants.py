"""``effv2-tune variants``: lists the EfficientNetV2 variants."""

from __future__ import annotations

import json
from typing import Any

import click

from effv2_tune import catalog


@click.command(epilog="\b\nExamples:\n  effv2-tune variants\n  effv2-tune variants --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """List the EfficientNetV2 variants.

    weights: parameters with a classifier for 1,000 classes; GMAC: multiply-accumulates of a
    forward pass at the native resolution; top-1: ImageNet accuracy of the released imagenet
    weights at that resolution; px: the native resolution; trained: the resolution of its training;
    pretrained: the released weight sets.
    """
    rows = [_row(variant) for variant in catalog.VARIANTS.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    from effv2_tune.report.console import Console

    table = Table(box=None, pad_edge=False)
    table.add_column("variant")
    for heading in ("weights", "GMAC", "top-1", "px", "trained"):
        table.add_column(heading, justify="right")
    table.add_column("pretrained")
    for row in rows:
        top1 = row["imagenet_top1"]
        table.add_row(
            row["variant"],
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['gmacs']:.2f}",
            "-" if top1 is None else f"{100 * top1:.1f} %",
            str(row["native_resolution"]),
            str(row["train_resolution"]),
            ", ".join(row["weights"]),
        )
    Console().print(table)


def _row(variant: catalog.Variant) -> dict[str, Any]:
    return {
        "variant": variant.name,
        "parameters": catalog.count_parameters(variant, 1000),
        "gmacs": catalog.count_macs(variant, variant.native_resolution) / 1e9,
        "imagenet_top1": variant.imagenet_top1,
        "native_resolution": variant.native_resolution,
        "train_resolution": variant.train_resolution,
        "weights": list(catalog.weight_sets_of(variant.name)),
    }
