"""``effv2-tune push``: pushes a trained model to the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune push runs/flowers-trial-7 ada/flowers\n"
    "  effv2-tune push runs/flowers-trial-7 ada/flowers --public\n"
    "  effv2-tune push runs/flowers-trial-9 ada/flowers --replace --json"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("repository", metavar="USER/NAME")
@click.option(
    "--public",
    "is_public",
    is_flag=True,
    help="Make a new repository public.  [default: private; the visibility of an existing one "
    "never changes]",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Write to a repository that holds another model, or other versions of the same files. "
    "Nothing is deleted, and its history keeps what is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print URL, commit and files as JSON.")
def command(model: Path, repository: str, *, is_public: bool, replace: bool, as_json: bool) -> None:
    """Push a trained model to the Hugging Face Hub.

    MODEL is the folder that `effv2-tune train` writes. One commit writes model.keras, its members,
    from which Keras loads "hf://USER/NAME", classes.txt, metrics.json (without the name of the
    machine), training.html, and the model card as README.md. The repository is created as a
    private one if there is none. Log in with `hf auth login`, or set HF_TOKEN to a token with
    write access. Rerun the same command after a failure. Needs the extra `hub`.
    """
    from effv2_tune.session.models.push import push_model

    pushed = push_model(model, repository, is_public=is_public, replace=replace)
    if as_json:
        click.echo(json.dumps(pushed.plain(), indent=2))
        return
    click.echo(pushed.url)
    for sentence in pushed.sentences():
        click.echo(sentence, err=True)
    if is_public and pushed.is_private:
        click.echo("--public: its owner can make it public in its settings on the Hub.", err=True)
