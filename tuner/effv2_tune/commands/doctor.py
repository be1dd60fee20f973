"""``effv2-tune doctor``: which device, backend and packages will be used here, and why."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import click

from effv2_tune.errors import EXIT_DONE, EXIT_WRONG_INPUT, TuneError

_PACKAGES = (
    "effv2-tune",
    "keras",
    "tensorflow",
    "jax",
    "jaxlib",
    "libtpu",
    "optuna",
    "keras-tuner",
    "numpy",
    "plotly",
)


@click.command(epilog="\b\nExamples:\n  effv2-tune doctor\n  effv2-tune doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> int:
    """Say what will be used here, and why.

    Looks at this machine's devices and at the installed packages; starts no device. Exits with 2
    where a study with `hardware: auto` would be refused.
    """
    from effv2_tune.host import choose_hardware, probe_host, probe_packages

    host, packages = probe_host(), probe_packages()
    try:
        chosen = choose_hardware("auto", "auto", host, packages)
        verdict: dict[str, str | None] = {
            "kind": chosen.kind,
            "backend": chosen.backend,
            "why": chosen.why,
        }
        code = EXIT_DONE
    except TuneError as error:
        verdict = {"kind": None, "backend": None, "why": str(error)}
        code = EXIT_WRONG_INPUT
    versions = {"python": platform.python_version()} | {
        name: found for name in _PACKAGES if (found := _version(name)) is not None
    }
    facts = {"use": verdict, "host": asdict(host), "versions": versions}
    if as_json:
        click.echo(json.dumps(facts | {"packages": asdict(packages)}, indent=2))
        return code
    click.echo(f"use       {verdict['why']}")
    click.echo(f"cpu       {host.cpu}, {host.cpu_count} processors")
    click.echo(f"gpu       {', '.join(host.gpus) or 'none'}")
    click.echo(f"tpu       {f'{host.tpu_chips} chips' if host.tpu_chips else 'none'}")
    for name, found in versions.items():
        click.echo(f"{name:<13} {found}")
    return code


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
