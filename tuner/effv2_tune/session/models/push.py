"""Pushes the model of a final training to the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command
from effv2_tune.session.models.hub_card import hub_card
from effv2_tune.session.models.location import locate_model
from effv2_tune.study.model_facts import read_facts
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.training_run import (
    CARD_FILE,
    CLASSES_FILE,
    METRICS_FILE,
    MODEL_FILE,
    PAGE_FILE,
    RECIPE_FILE,
    seed_folder,
)
from effv2_tune.study.trial import Scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.session.models.hub import HubContents, HubFile, HubRepository

README = "README.md"
#: What ``keras.saving.load_model("hf://...")`` reads; all members of a model of stock layers.
KERAS_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
#: The Hub itself writes it into each new repository.
_HUBS_OWN = ".gitattributes"
_NEEDED = (RECIPE_FILE, METRICS_FILE, CLASSES_FILE, CARD_FILE)
_SCHEME = "hf://"
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class PushedModel:
    """A model on the Hub.

    Attributes:
        repository: ``USER/NAME``.
        url: Of its page.
        is_private: Whether only its owner sees it.
        commit: The hash of the commit that has the model.
        written: The files that were added or replaced; empty where it had them all.
        kept: Other files of the repository, which were left as they are.
    """

    repository: str
    url: str
    is_private: bool
    commit: str
    written: tuple[str, ...]
    kept: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "repository": self.repository,
            "url": self.url,
            "private": self.is_private,
            "commit": self.commit,
            "written": list(self.written),
            "kept": list(self.kept),
        }

    def sentences(self) -> list[str]:
        """What was done, and who sees it."""
        who = "private: only its owner sees it" if self.is_private else "public: everybody sees it"
        done = f"Wrote {', '.join(self.written)}." if self.written else "It has this model already."
        kept = [f"Left as they are: {', '.join(self.kept)}."] if self.kept else []
        return [done, *kept, f"The repository is {who}."]


def push_model(
    model: Path, repository: str, *, is_public: bool = False, replace: bool = False
) -> PushedModel:
    """Push the model of a final training to a repository of the Hub, in one commit.

    The repository is created if there is none. No file in it is deleted.

    Args:
        model: The folder of the training, or its ``model.keras``.
        repository: ``USER/NAME``, with or without ``hf://``.
        is_public: Whether a new repository is public; that of an existing one is not changed.
        replace: Whether a repository that holds anything else may be written to.

    Raises:
        TuneError: The folder has no finished training, the name is not valid, the package is
            missing, the Hub refuses it or cannot be reached, or the repository holds something
            else.
    """
    name = repository_name(repository)
    trained = locate_model(model)
    _check_training(trained)
    hub = _open(name)
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        files = _files_to_push(trained, name, Path(folder))
        found = hub.contents()
        if found is None:
            found = hub.create(is_private=not is_public)
        changed = {
            file: path
            for file, path in files.items()
            if file not in found.files or not _is_same(path, found.files[file])
        }
        if not replace:
            _refuse_other_contents(name, found, changed)
        commit = found.commit
        if changed:
            message = f"Push a model with effv2-tune {version('effv2-tune')}"
            commit = hub.commit(changed, message, parent=found.commit)
    kept = sorted(found.files.keys() - files.keys() - {_HUBS_OWN})
    return PushedModel(
        name, hub.url, found.is_private, str(commit), tuple(sorted(changed)), tuple(kept)
    )


def repository_name(text: str) -> str:
    """``USER/NAME`` of what the user writes, with or without ``hf://``.

    Raises:
        TuneError: It is something else.
    """
    name = text.removeprefix(_SCHEME)
    if not _NAME.fullmatch(name):
        raise TuneError(
            f"{text!r} is not the name of a repository.",
            hint="Write it as USER/NAME, such as ada/flowers: your name or that of your "
            "organization on the Hugging Face Hub, and a name for the model.",
        )
    return name


def _open(name: str) -> HubRepository:
    try:
        from effv2_tune.session.models.hub import HubRepository
    except ImportError as error:
        raise TuneError(
            f"Pushing to the Hugging Face Hub needs huggingface_hub: {error}.",
            hint=f"Install it: {install_command('hub')}",
            exit_code=EXIT_FAILED,
        ) from error
    return HubRepository(name)


def _check_training(model: Path) -> None:
    """Check that a model is in the folder of its finished final training.

    Raises:
        TuneError: It is not; or it is no model at all.
    """
    trained = model.parent.glob(f"{seed_folder('*')}/{MODEL_FILE}")
    seeds = sorted(path.parent.name for path in trained)
    if seeds and not model.exists():
        raise TuneError(
            f"{model.parent} has no {MODEL_FILE}, but folders with one: {', '.join(seeds)}.",
            hint=f"Pass one of them, such as {model.parent / seeds[0]}",
        )
    read_facts(model)
    missing = [name for name in _NEEDED if not model.with_name(name).is_file()]
    if missing or model.name != MODEL_FILE:
        what = f"it has no {', '.join(missing)}" if missing else f"its model is not {MODEL_FILE}"
        raise TuneError(
            f"{model.parent} is not the folder of a finished training: {what}.",
            hint="Pass the folder that 'effv2-tune train' writes; rerun that command where files "
            "are missing: a finished training is not repeated.",
        )


def _files_to_push(model: Path, repository: str, folder: Path) -> dict[str, Path]:
    """The files by their paths in the repository; those that differ from the training's are new.

    Args:
        model: The ``.keras`` file.
        repository: For the card.
        folder: An empty one for new files.

    Raises:
        TuneError: A file of the training is damaged.
    """
    try:
        _write_new_files(model, repository, folder)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TuneError(
            f"A file in {model.parent} is damaged, or of another version: {error}",
            hint="Pass a folder that this version of effv2-tune has trained.",
        ) from error
    files = {name: folder / name for name in (README, METRICS_FILE, *KERAS_MEMBERS)}
    files |= {name: model.with_name(name) for name in (MODEL_FILE, CLASSES_FILE)}
    page = model.with_name(PAGE_FILE)
    return files | ({PAGE_FILE: page} if page.is_file() else {})


def _write_new_files(model: Path, repository: str, folder: Path) -> None:
    recipe = Recipe.model_validate_json(model.with_name(RECIPE_FILE).read_bytes())
    metrics = json.loads(model.with_name(METRICS_FILE).read_bytes())
    card = model.with_name(CARD_FILE)
    text = hub_card(
        card.read_text(encoding="utf-8"),
        repository=repository,
        data=recipe.data,
        test=Scores.model_validate(metrics["test"]),
        name=str(card),
    )
    metrics["environment"].pop("host", None)  # nobody's business, as in the model card
    (folder / README).write_text(text, encoding="utf-8")
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with zipfile.ZipFile(model) as archive:
        for member in KERAS_MEMBERS:
            with archive.open(member) as source, (folder / member).open("wb") as target:
                shutil.copyfileobj(source, target)


def _is_same(path: Path, found: HubFile) -> bool:
    """Whether the Hub has the content of this file."""
    if found.sha256 is not None:
        return _digest(path, hashlib.sha256()) == found.sha256
    # git's name of a blob: git-scm.com/book/en/v2/Git-Internals-Git-Objects
    header = f"blob {path.stat().st_size}\0".encode()
    return _digest(path, hashlib.sha1(header, usedforsecurity=False)) == found.blob


def _digest(path: Path, checksum: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum.update(block)
    return str(checksum.hexdigest())


def _refuse_other_contents(name: str, found: HubContents, changed: Mapping[str, Path]) -> None:
    """Refuse a repository that holds another model, or other versions of these files.

    Raises:
        TuneError: With the names of the files.
    """
    # Beside the same model, files of the owner (a license, pictures) are none of another one.
    compared = found.files.keys() if MODEL_FILE in changed else changed.keys()
    others = sorted((compared & found.files.keys()) - {_HUBS_OWN})
    if others:
        raise TuneError(
            f"{name} already holds other files, and is left as it is: {', '.join(others)}.",
            hint="Choose another repository; or write to this one with --replace: files of the "
            "same names are replaced, nothing is deleted, and its history keeps the earlier ones.",
        )
