"""Pushing to the Hub: the real client against a server on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.session.models.hub_server import TOKEN, HubServer, Repository
from tests.session.models.small_model import CLASSES, save_model

import effv2_tune
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_INPUT, TuneError
from effv2_tune.session.models.push import _files_to_push, push_model, repository_name
from effv2_tune.study.recipe import DataSpec, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Push = Callable[..., subprocess.CompletedProcess[str]]

PUSHED = {
    "README.md",
    "classes.txt",
    "config.json",
    "metadata.json",
    "metrics.json",
    "model.keras",
    "model.weights.h5",
    "training.html",
}
SCORES = {
    "accuracy": 0.93,
    "balanced_accuracy": 0.92,
    "macro_f1": 0.91,
    "top5": 0.999,
    "loss": 0.2,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_model(path)
    return path


@pytest.fixture
def training(saved: Path, tmp_path: Path) -> Path:
    """The folder of a finished training."""
    folder = tmp_path / "runs" / "animals"
    folder.mkdir(parents=True)
    data = DataSpec(name="folder", path="/home/me/animals")
    recipe = Recipe(variant="tiny", resolution=40, data=data)
    metrics = {"test": SCORES, "environment": {"host": "secret-host", "backend": "jax"}}
    (folder / "model.keras").write_bytes(saved.read_bytes())
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "model_card.md").write_text("# animals\n\n## Use\n\nSo.\n")
    (folder / "training.html").write_text("<p>Curves.</p>")
    (folder / "train.log").write_text("/home/me")
    return folder


@pytest.fixture
def hub() -> Iterator[HubServer]:
    if find_spec("huggingface_hub") is None:
        pytest.skip("pushing needs huggingface_hub: extra hub")
    server = HubServer()
    yield server
    server.close()


@pytest.fixture
def client(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """Environment variables of the client; it reads its address once in a process."""
    return {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_HUB_DISABLE_XET": "1",  # the server stores large files by LFS
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def push(client: dict[str, str], training: Path) -> Push:
    """A function that pushes in a process of its own."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "effv2_tune", "push", *arguments],
            cwd=training.parents[1],
            env=os.environ | client | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_training_becomes_a_private_repository(
    hub: HubServer, push: Push, training: Path
) -> None:
    done = push("animals", "ada/animals")
    repository = hub.repositories["ada/animals"]

    assert done.returncode == EXIT_DONE, done.stderr
    assert done.stdout == f"{hub.address}/ada/animals\n"
    assert "private: only its owner sees it" in done.stderr
    assert repository.is_private
    assert set(repository.files) == PUSHED | {".gitattributes"}
    assert repository.large == {"model.keras", "model.weights.h5"}
    assert len(repository.commits) == 2
    assert repository.files["model.keras"] == (training / "model.keras").read_bytes()
    assert repository.files["README.md"].startswith(b"---\nlibrary_name: keras\n")


@pytest.mark.slow
def test_keras_loads_the_model_from_the_hub(
    push: Push, client: dict[str, str], training: Path, run_python: Callable[..., str]
) -> None:
    push("animals", "ada/animals")
    code = f"""
import keras, numpy as np
images = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
places = ("hf://ada/animals", {str(training / "model.keras")!r})
models = [keras.saving.load_model(place) for place in places]
found, expected = (model.predict(images, verbose=0) for model in models)
assert found.shape == (2, {len(CLASSES)})
np.testing.assert_array_equal(found, expected)
"""

    run_python(code, **client)


@pytest.mark.slow
def test_nothing_that_is_pushed_names_a_machine_or_a_folder_of_it(
    hub: HubServer, push: Push
) -> None:
    push("animals", "ada/animals")
    files = hub.repositories["ada/animals"].files

    assert json.loads(files["metrics.json"])["test"] == SCORES
    assert not [name for name, text in files.items() if b"secret-host" in text or b"/me/" in text]


@pytest.mark.slow
def test_a_second_push_of_the_same_model_writes_nothing(hub: HubServer, push: Push) -> None:
    push("animals", "ada/animals")
    again = push("animals", "hf://ada/animals", "--json")
    said = json.loads(again.stdout)

    assert again.returncode == EXIT_DONE
    assert said["written"] == []
    assert said["commit"] == hub.repositories["ada/animals"].commits[1]
    assert len(hub.repositories["ada/animals"].commits) == 2


@pytest.mark.slow
def test_a_public_repository_is_one_on_request_alone(hub: HubServer, push: Push) -> None:
    done = push("animals", "ada/animals", "--public")

    assert "public: everybody sees it" in done.stderr
    assert not hub.repositories["ada/animals"].is_private


@pytest.mark.slow
def test_another_model_is_replaced_on_request_alone_and_nothing_is_deleted(
    hub: HubServer, push: Push
) -> None:
    others = {"model.safetensors": b"another", "README.md": b"mine"}
    hub.repositories["ada/animals"] = Repository(is_private=True, files=dict(others))

    refused = push("animals", "ada/animals")
    kept = dict(hub.repositories["ada/animals"].files)
    done = push("animals", "ada/animals", "--replace", "--public", "--json")
    repository = hub.repositories["ada/animals"]

    assert refused.returncode == EXIT_WRONG_INPUT
    assert "ada/animals already holds other files" in refused.stderr
    assert "README.md, model.safetensors" in refused.stderr
    assert "--replace" in refused.stderr
    assert kept == others
    assert done.returncode == EXIT_DONE
    assert repository.files["model.safetensors"] == b"another"
    assert repository.files["README.md"] != b"mine"
    assert json.loads(done.stdout)["kept"] == ["model.safetensors"]
    assert repository.is_private


@pytest.mark.slow
def test_a_license_of_the_owner_stays_and_an_edited_card_is_not_overwritten(
    hub: HubServer, push: Push, training: Path
) -> None:
    push("animals", "ada/animals")
    files = hub.repositories["ada/animals"].files
    files["LICENSE"] = b"MIT"
    beside = push("animals", "ada/animals")
    files["README.md"] += b"An edit on the Hub."
    (training / "training.html").write_text("<p>Newer.</p>")
    edited = push("animals", "ada/animals")

    assert beside.returncode == EXIT_DONE
    assert "Left as they are: LICENSE." in beside.stderr
    assert edited.returncode == EXIT_WRONG_INPUT
    assert "left as it is: README.md, training.html." in edited.stderr
    assert files["README.md"].endswith(b"An edit on the Hub.")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["PUT /lfs/", "/commit/main"])
def test_a_failed_upload_leaves_no_half_model_and_is_repeated(
    hub: HubServer, push: Push, fault: str
) -> None:
    hub.faults = {fault: 507}
    failed = push("animals", "ada/animals")
    left = set(hub.repositories["ada/animals"].files)
    hub.faults = {}
    again = push("animals", "ada/animals")

    assert failed.returncode == EXIT_FAILED
    assert "The Hugging Face Hub answers 507" in failed.stderr
    assert "Rerun the same command" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert left == {".gitattributes"}
    assert again.returncode == EXIT_DONE
    assert set(hub.repositories["ada/animals"].files) >= PUSHED


@pytest.mark.slow
def test_large_files_that_were_uploaded_are_not_uploaded_again(hub: HubServer, push: Push) -> None:
    hub.faults = {"/commit/main": 507}
    push("animals", "ada/animals")
    hub.faults = {}
    hub.requests.clear()
    done = push("animals", "ada/animals")

    assert done.returncode == EXIT_DONE
    assert not [line for line in hub.requests if line.startswith("PUT")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "env", "sentences"),
    [
        ("ada/x", {"HF_TOKEN": ""}, ("There is no token", "hf auth login")),
        ("ada/x", {"HF_TOKEN": "hf_old"}, ("refuses the token: ", "Invalid cred", "HF_TOKEN")),
        ("eve/x", {}, ("no right to write to eve/x", "namespace 'eve'", "write access")),
        ("ada/x", {"HF_ENDPOINT": "http://127.0.0.1:9"}, ("cannot be reached", "HF_ENDPOINT")),
        ("ada/x", {"HF_HUB_OFFLINE": "1"}, ("HF_HUB_OFFLINE forbids", "Unset")),
    ],
    ids=["no token", "wrong token", "no rights", "no network", "offline"],
)
def test_a_fault_of_the_place_is_a_message_with_a_way_out(
    hub: HubServer, push: Push, repository: str, env: dict[str, str], sentences: tuple[str, ...]
) -> None:
    done = push("animals", repository, **env)

    assert done.returncode == EXIT_FAILED
    assert done.stdout == ""
    assert all(sentence in done.stderr for sentence in sentences), done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
    assert hub.repositories == {}


@pytest.mark.slow
def test_a_commit_that_somebody_makes_meanwhile_is_not_overwritten(
    hub: HubServer, push: Push
) -> None:
    hub.repositories["ada/animals"] = Repository(is_private=True)
    hub.faults = {"/commit/main": 412}
    done = push("animals", "ada/animals")

    assert done.returncode == EXIT_FAILED
    assert "ada/animals is not as it was a moment ago" in done.stderr


@pytest.mark.slow
def test_a_name_that_the_hub_forbids_is_a_mistake(hub: HubServer, push: Push) -> None:
    done = push("animals", "ada/-animals-")

    assert done.returncode == EXIT_WRONG_INPUT
    assert "'ada/-animals-' is not the name of a repository" in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize("text", ["animals", "ada/animals/1", "https://hf.co/ada/animals", "a b/c"])
def test_a_repository_has_a_user_and_a_name(text: str) -> None:
    with pytest.raises(TuneError, match="is not the name of a repository") as refused:
        repository_name(text)

    assert refused.value.exit_code == EXIT_WRONG_INPUT


@pytest.mark.parametrize("missing", ["metrics.json", "classes.txt", "model_card.md", "recipe.json"])
def test_a_training_that_is_not_finished_is_named_with_what_it_lacks(
    training: Path, missing: str
) -> None:
    (training / missing).unlink()

    with pytest.raises(TuneError, match=f"not the folder of a finished .* no {missing}") as refused:
        push_model(training, "ada/animals")

    assert refused.value.exit_code == EXIT_WRONG_INPUT


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b'{"test": {}}'),
        ("metrics.json", b"[]"),
        ("recipe.json", b"{"),
        ("model_card.md", b"\xff"),
    ],
)
def test_a_damaged_file_is_refused(training: Path, name: str, content: bytes) -> None:
    (training / name).write_bytes(content)

    with pytest.raises(TuneError, match="is damaged, or of another version") as refused:
        _files_to_push(training / "model.keras", "ada/animals", training.parent)

    assert refused.value.exit_code == EXIT_WRONG_INPUT


def test_a_damaged_model_is_refused(training: Path) -> None:
    path = training / "model.keras"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
    content[member.header_offset + member.file_size // 2] ^= 0xFF
    path.write_bytes(content)

    with pytest.raises(TuneError, match=r"damaged, or of another version: Bad CRC"):
        _files_to_push(path, "ada/animals", training.parent)


def test_a_folder_of_several_seeds_is_refused_with_the_folders_in_it(training: Path) -> None:
    training.rename(training.with_name("seed-1"))

    with pytest.raises(TuneError, match=r"folders with one: seed-1\.\nPass one .*/seed-1"):
        push_model(training.parent, "ada/animals")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nothing", "There is no file"), ("animals/train.log", "is not a Keras model")],
)
def test_what_is_no_model_is_refused(training: Path, name: str, sentence: str) -> None:
    with pytest.raises(TuneError, match=sentence) as refused:
        push_model(training.parent / name, "ada/animals")

    assert refused.value.exit_code == EXIT_WRONG_INPUT


def test_without_the_package_the_message_has_the_command_that_installs_it(
    training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "effv2_tune.session.models.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(TuneError, match=r"needs huggingface_hub.*\n.*\[hub\]") as refused:
        push_model(training, "ada/animals")

    assert refused.value.exit_code == EXIT_FAILED


def test_one_module_imports_the_client() -> None:
    package = Path(effv2_tune.__file__).parent
    importing = re.compile(r"^\s*(?:from|import) huggingface_hub", re.MULTILINE)
    modules = [path.name for path in package.rglob("*.py") if importing.search(path.read_text())]

    assert modules == ["hub.py"]
