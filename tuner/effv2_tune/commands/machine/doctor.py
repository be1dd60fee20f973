"""``effv2-tune doctor``: shows the device, backend and packages of this machine."""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_INPUT, TuneError
from effv2_tune.plurals import pluralized

if TYPE_CHECKING:
    from effv2_tune.host import Hardware

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


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune doctor\n"
    "  effv2-tune doctor --json\n"
    "  effv2-tune doctor --selftest"
)
@click.option(
    "--hardware",
    type=click.Choice(["auto", "cpu", "gpu", "tpu"]),
    default="auto",
    show_default=True,
    help="As in a study file.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorflow", "jax"]),
    default="auto",
    show_default=True,
    help="As in a study file.",
)
@click.option(
    "--selftest", is_flag=True, help="Test the device by training on it for a minute or two."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    *,
    hardware: Literal["auto", "cpu", "gpu", "tpu"],
    backend: Literal["auto", "tensorflow", "jax"],
    selftest: bool,
    as_json: bool,
) -> int:
    """Show the device, backend and packages of this machine.

    Reports which device and backend a study would use, and why; initializes no device. On a TPU
    host, also the generation of the chips, their memory (HBM), the version of libtpu, and which
    processes hold the chips. Exits with 2 if a study with these `hardware:` and `backend:` would be
    refused.

    With --selftest, a small network is trained on the device in a separate process, and six checks
    are run: several steps per call give the same weights as single steps, all devices have the
    same weights, losses are finite in the precision that is used, an evaluation counts every image
    once, a killed trial resumes with identical weights, and the step time. Exits with 1 if a check
    fails. The text at the end is for a bug report; it contains no user name, home folder or host
    name.
    """
    from effv2_tune.commands.machine.features import as_facts, summary
    from effv2_tune.commands.machine.tpu_chips import TpuChips, tpu_lines
    from effv2_tune.host import choose_hardware, installed_versions, probe_host, probe_packages
    from effv2_tune.training.features.cache import FeatureCache

    host, packages = probe_host(), probe_packages()
    chosen: Hardware | None = None
    try:
        chosen = choose_hardware(hardware, backend, host, packages)
        verdict: dict[str, str | None] = {
            "kind": chosen.kind,
            "backend": chosen.backend,
            "why": chosen.why,
        }
    except TuneError as error:
        verdict = {"kind": None, "backend": None, "why": str(error)}
    versions = {"python": platform.python_version()} | installed_versions(_PACKAGES)
    chips = TpuChips.of(host)
    facts = {
        "use": verdict,
        "host": asdict(host),
        "tpu": None if chips is None else asdict(chips),
        "versions": versions,
    }
    features = FeatureCache()
    if not as_json:
        print_message(f"use       {verdict['why']}")
        print_message(f"cpu       {host.cpu}, {pluralized(host.cpu_count, 'processor')}")
        print_message(f"gpu       {', '.join(host.gpus) or 'none'}")
        print_message("tpu       " + f"\n{'':10}".join(tpu_lines(host, packages, versions)))
        for name, version in versions.items():
            print_message(f"{name:<13} {version}")
        print_message(f"features      {summary(features)}")
    tested = None
    if selftest and chosen is not None:
        tested = _test(chosen, as_json=as_json)
    if as_json:
        facts |= {"packages": asdict(packages), "features": as_facts(features)}
        click.echo(json.dumps(facts if tested is None else facts | {"selftest": tested}, indent=2))
    if chosen is None:
        return EXIT_WRONG_INPUT
    return EXIT_DONE if tested is None or tested["passed"] else EXIT_FAILED


def _test(chosen: Hardware, *, as_json: bool) -> dict[str, Any]:
    """Test the device, print each check when it is done, and return the results."""
    from effv2_tune.session.selftest import SelfTest, check_line, report_lines

    def print_step(message: str) -> None:
        click.echo(f"... {message}", err=True)

    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        test = SelfTest(chosen, folder=Path(folder), on_step=print_step)
        for check in test.run():
            click.echo(check_line(check), err=as_json)
        report = report_lines(test)
    if not as_json:
        click.echo("\n".join(["", *report]))
    return {
        "passed": test.passed,
        "seconds": round(test.seconds, 1),
        "checks": [check.model_dump() for check in test.checks],
        "report": report,
    }
