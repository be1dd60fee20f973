"""Defines the command line: lists the commands, turns errors into messages and exit codes."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.escaping import escaped_output
from effv2_tune.errors import EXIT_FAILED, EXIT_INTERRUPTED, TuneError
from effv2_tune.files.environment_errors import environment_error
from effv2_tune.interruption import INTERRUPTED, StopRequest, signals_kill, signals_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The commands of each group, which is the package that holds their modules. The first line of each
#: command's help is repeated here, so that `--help` loads none of them; a test compares the two.
GROUPS = {
    "study": {
        "run": "Run a study, or resume it.",
        "confirm": "Confirm the picks of a study with replicates.",
        "check": "Validate a study file.",
        "plan": "Estimate time, memory and disk of a study before training.",
        "compile": "Compile the buckets of a study for a TPU.",
        "range": "Find the range of useful learning rates of a study.",
        "init": "Write a study file to edit.",
        "spaces": "List the shipped search spaces and studies.",
    },
    "results": {
        "status": "Show the Pareto front and the running trials.",
        "trials": "List all trials with their hyperparameters and scores.",
        "report": "Write the report of a study as one HTML file.",
        "dashboard": "Serve the report of a study as a page that follows it.",
        "log": "Log the trials of a study to an experiment tracker.",
        "export": "Export a trial of the Pareto front as a training run.",
    },
    "model": {
        "train": "Run the final training of an exported recipe.",
        "predict": "Predict the classes of image files with a trained model.",
        "export-model": "Export a trained model to another format.",
        "push": "Push a trained model to the Hugging Face Hub.",
        "variants": "List the EfficientNetV2 variants.",
    },
    "machine": {
        "doctor": "Show the device, backend and packages of this machine.",
        "features": "List or remove the cached features of frozen backbones.",
    },
}

#: The first line of each command's help.
COMMANDS = {name: line for commands in GROUPS.values() for name, line in commands.items()}

#: The module of each command.
MODULES = {
    name: f"effv2_tune.commands.{group}.{name.replace('-', '_')}"
    for group, commands in GROUPS.items()
    for name in commands
}


class _Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = import_module(MODULES[cmd_name]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for group, commands in GROUPS.items():
            with formatter.section(f"{group.capitalize()} commands"):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=_Commands,
    help="Find the Pareto-optimal EfficientNetV2 training recipes: no other is both more accurate "
    "and faster to train.\n\nA multi-objective hyperparameter search with Optuna, validation "
    "accuracy against training time, with pruning by successive halving.",
    # Only their names matter, for "did you mean": get_command() finds the real ones.
    commands={name: click.Command(name) for name in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EFFV2_TUNE"},
    epilog="\b\nExamples:\n"
    "  effv2-tune run quickstart\n"
    "  effv2-tune status runs/quickstart\n"
    "  effv2-tune export runs/quickstart --pick knee -o train.yaml\n"
    "  effv2-tune train train.yaml",
)
@click.version_option(package_name="effv2-tune", prog_name="effv2-tune")
def cli() -> None:
    """Group the commands; the help is in the decorator, as its first line is long."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    signals_kill()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    try:
        with escaped_output(), signals_stop(StopRequest()) as stop:
            return _run(arguments, stop)
    except KeyboardInterrupt:
        # Between the end of the command and that of the handlers.
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str] | None, stop: StopRequest) -> int:
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="effv2-tune",
            standalone_mode=False,
            obj=stop,
        )
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(INTERRUPTED, err=True)
        return EXIT_INTERRUPTED
    except (TuneError, OSError) as error:
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: TuneError | OSError) -> int:
    """Print an error, and return the exit code; a bug of this package is raised again."""
    if isinstance(error, TuneError):
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of the output has exited (`| head`): there is nobody to report to.
        sys.stderr.close()
        return EXIT_FAILED
    found = environment_error(error)
    if found is None:
        raise error
    click.echo(f"Error: {found}", err=True)
    return EXIT_FAILED
