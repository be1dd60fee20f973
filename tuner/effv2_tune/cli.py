"""The command line: names the commands, turns errors into sentences and exit codes."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from effv2_tune.errors import EXIT_FAILED, EXIT_INTERRUPTED, TuneError
from effv2_tune.interruption import termination_interrupts

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The commands of each group, which is the package that holds their modules. The first line of each
#: command's help is repeated here, so that `--help` loads none of them; a test compares the two.
GROUPS = {
    "study": {
        "run": "Run a study, or continue it.",
        "check": "Validate a study file.",
        "plan": "Say what a study will cost, before anything is trained.",
        "init": "Start a study file of your own.",
        "spaces": "List the shipped search spaces and studies.",
    },
    "results": {
        "status": "Show the front and what is running.",
        "trials": "List every trial with all its numbers.",
        "report": "Write the report: one HTML file.",
        "export": "Turn a point of the front into a training run.",
    },
    "model": {
        "train": "Carry out a standard training run.",
        "variants": "List the EfficientNetV2 variants.",
    },
    "machine": {
        "doctor": "Say what will be used here, and why.",
        "features": "List or remove the cached features of frozen backbones.",
    },
}

#: The first line of each command's help.
COMMANDS = {name: line for commands in GROUPS.values() for name, line in commands.items()}

#: The module of each command.
MODULES = {
    name: f"effv2_tune.commands.{group}.{name}"
    for group, commands in GROUPS.items()
    for name in commands
}


#: What a machine may run out of, or forbid: told in a sentence, wherever it happens.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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
    """Find the EfficientNetV2 recipes that nothing beats on accuracy and training time."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    try:
        with termination_interrupts():
            code = cli.main(
                args=None if arguments is None else list(arguments),
                prog_name="effv2-tune",
                standalone_mode=False,
            )
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; the same command continues.", err=True)
        return EXIT_INTERRUPTED
    except (TuneError, OSError) as error:
        return _tell(error)
    return code if isinstance(code, int) else 0


def _tell(error: TuneError | OSError) -> int:
    """Say what went wrong, and return the exit code; what is our own mistake is raised again."""
    if isinstance(error, TuneError):
        _say_error(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone (`| head`); nothing is left to say to it.
        sys.stderr.close()
        return EXIT_FAILED
    if error.errno not in _OF_THE_MACHINE:
        raise error
    where = "" if error.filename is None else f" ({error.filename})"
    _say_error(f"{error.strerror}{where}.\nThe same command continues once that is mended.")
    return EXIT_FAILED


def _say_error(sentences: str) -> None:
    click.echo(f"Error: {sentences}", err=True)
