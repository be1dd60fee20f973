"""Reads and writes a repository of the Hugging Face Hub, by its own client."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the HTTP client that this version of the package uses
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from effv2_tune.errors import EXIT_FAILED, TuneError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LOG_IN = (
    "Log in with: hf auth login; or set HF_TOKEN to a token with write access, from "
    "https://huggingface.co/settings/tokens"
)
_REPEAT = "Rerun the same command: what has been uploaded is not uploaded again."
_UNAUTHORIZED, _FORBIDDEN, _CONFLICTS = 401, 403, (409, 412)


@dataclass(frozen=True)
class HubFile:
    """What the Hub records of a file: one of the two.

    Attributes:
        blob: Its SHA-1 as a blob of git.
        sha256: Its SHA-256, where it is stored as a large file.
    """

    blob: str | None
    sha256: str | None


@dataclass(frozen=True)
class HubContents:
    """What a repository holds.

    Attributes:
        is_private: Whether only its owner sees it.
        commit: Of this state; None for a repository that was created just now.
        files: By their paths.
    """

    is_private: bool
    commit: str | None = None
    files: Mapping[str, HubFile] = field(default_factory=dict)


class HubRepository:
    """A repository of a model; the token is that of the environment or of the cached login.

    Args:
        name: ``USER/NAME``.

    Raises:
        TuneError: The name is not valid, or there is no token.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        if not sys.stderr.isatty():
            disable_progress_bars()
        with _explained(name):
            validate_repo_id(name)
            self._api = HfApi(
                token=True, library_name="effv2-tune", library_version=version("effv2-tune")
            )
            if get_token() is None:
                raise TuneError(
                    "There is no token for the Hugging Face Hub.",
                    hint=_LOG_IN,
                    exit_code=EXIT_FAILED,
                )

    @property
    def url(self) -> str:
        """Of its page."""
        return f"{self._api.endpoint}/{self._name}"

    def contents(self) -> HubContents | None:
        """What it holds; None where there is none, or none that the token may see."""
        with _explained(self._name):
            try:
                found = self._api.model_info(self._name, files_metadata=True)
            except RepositoryNotFoundError as error:
                if isinstance(error, GatedRepoError):  # a subclass: it is there
                    raise
                return None
            files = {
                one.rfilename: HubFile(one.blob_id, None if one.lfs is None else one.lfs.sha256)
                for one in found.siblings or ()
            }
            return HubContents(bool(found.private), found.sha, files)

    def create(self, *, is_private: bool) -> HubContents:
        """Create it, empty."""
        with _explained(self._name):
            self._api.create_repo(self._name, private=is_private)
        return HubContents(is_private)

    def commit(self, files: Mapping[str, Path], message: str, *, parent: str | None) -> str:
        """Add or replace files in one commit, all or none; returns its hash.

        Args:
            files: By their paths in the repository.
            message: Of the commit.
            parent: The commit that it must follow; None for any.
        """
        with _explained(self._name):
            done = self._api.create_commit(
                self._name,
                [CommitOperationAdd(name, str(path)) for name, path in files.items()],
                commit_message=message,
                parent_commit=parent,
            )
        return str(done.oid)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever the client raises into an error with a way out."""
    try:
        yield
    except TuneError:
        raise
    except Exception as error:
        # The client wraps the failed upload of a large file.
        is_wrapped = isinstance(error, RuntimeError) and error.__cause__ is not None
        raise _error_of(error.__cause__ if is_wrapped else error, name) from error


def _error_of(error: BaseException | None, name: str) -> TuneError:
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, name)
    if isinstance(error, HFValidationError):
        return TuneError(
            f"{name!r} is not the name of a repository: {_first_line(error)}",
            hint="Write it as USER/NAME, such as ada/flowers.",
        )
    if isinstance(error, OfflineModeIsEnabled):
        return UnavailableError(
            "HF_HUB_OFFLINE forbids connections to the Hugging Face Hub.",
            hint="Unset HF_HUB_OFFLINE, then rerun the same command.",
        )
    if isinstance(error, HTTPError):
        return UnavailableError(
            f"The Hugging Face Hub cannot be reached: {_first_line(error)}",
            hint=f"Check the network, HTTPS_PROXY and HF_ENDPOINT. {_REPEAT}",
        )
    return UnavailableError(f"{name} cannot be written: {error}", hint=_REPEAT)


def _refusal(error: HfHubHTTPError, name: str) -> TuneError:
    """The error of an answer that is not the expected one."""
    status = error.response.status_code
    said = error.server_message or _first_line(error)
    if status == _UNAUTHORIZED:
        return UnavailableError(f"The Hugging Face Hub refuses the token: {said}", hint=_LOG_IN)
    if status == _FORBIDDEN:
        return UnavailableError(
            f"The token has no right to write to {name}: {said}",
            hint="Use a token with write access to it (https://huggingface.co/settings/tokens), or "
            "name a repository of your own.",
        )
    if status in _CONFLICTS:
        return UnavailableError(
            f"{name} is not as it was a moment ago, or is hidden from this token: {said}",
            hint="Nothing was changed in it. Look at it on the Hub, then rerun the same command.",
        )
    return UnavailableError(f"The Hugging Face Hub answers {status}: {said}", hint=_REPEAT)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
