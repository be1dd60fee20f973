"""Pretrained weights: downloaded once, checked, and loaded whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import re
import shutil
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np
import pytest

from effv2_tune import catalog
from effv2_tune.catalog import TINY, WeightFile
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.download import RetryPolicy
from effv2_tune.network import (
    find_weights,
    input_scaling,
    load_weights,
    stock_model,
    training_network,
)
from effv2_tune.network.pretrained.files import fetch_weights, progress_bar, weights_cache
from effv2_tune.network.pretrained.weight_io import keras_applications_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


# --- a server -------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under every path, as a test wants it.

    Attributes:
        content: What is served.
        cuts: For each next request, after how many bytes the connection breaks.
        ranges: Whether requests for a part are answered with the part.
        requested: The Range header of each request so far.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cuts: list[int] = []
        self.ranges = True
        self.requested: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/efficientnetv2-tiny-imagenet.h5"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requested.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        if start and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def file_at(url: str, content: bytes = CONTENT) -> WeightFile:
    return WeightFile(
        variant="tiny",
        weights="imagenet",
        url=url,
        md5=hashlib.md5(content).hexdigest(),  # noqa: S324 - the digest that releases have
        scaling="torch",
        classes=1000,
        layout="released",
        top1=None,
    )


def fetch(file: WeightFile, cache: Path, seen: list[Any] | None = None) -> Path:
    return fetch_weights(
        file,
        cache=cache,
        progress=lambda *at: seen.append(at) if seen is not None else None,
        retries=RetryPolicy(pause_seconds=0),
    )


# --- downloading ----------------------------------------------------------------------------------


def test_a_file_is_downloaded_once_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[Any] = []

    path = fetch(file_at(server.url), tmp_path, seen)
    again = fetch(file_at(server.url), tmp_path)

    assert path.read_bytes() == CONTENT
    assert again == path
    assert server.requested == [None]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not list(tmp_path.glob("*.part"))


def test_another_file_than_the_released_one_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>moved</html>"

    with pytest.raises(TuneError, match="another file than the published one: its md5") as info:
        fetch(file_at(server.url), tmp_path)

    assert info.value.exit_code == EXIT_FAILED
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 500_000]

    path = fetch(file_at(server.url), tmp_path)

    assert path.read_bytes() == CONTENT
    assert server.requested == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_connection_that_keeps_breaking_is_an_error_and_the_next_call_goes_on(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000] * 4

    with pytest.raises(TuneError, match="broke after 400,000 of 3,000,000 bytes") as info:
        fetch(file_at(server.url), tmp_path)
    assert info.value.exit_code == EXIT_FAILED
    assert not (tmp_path / "efficientnetv2-tiny-imagenet.h5").exists()

    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT
    assert server.requested[-1] == "bytes=400000-"


def test_a_server_that_cannot_resume_sends_everything_again(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [1_000_000], False

    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT


def test_a_broken_rest_of_another_download_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "efficientnetv2-tiny-imagenet.h5.part").write_bytes(b"x" * 1000)

    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT
    assert server.requested == ["bytes=1000-", None]


def test_a_rest_that_was_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "efficientnetv2-tiny-imagenet.h5.part").write_bytes(CONTENT)

    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT
    assert server.requested == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_rotted_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = fetch(file_at(server.url), tmp_path)
    path.write_bytes(CONTENT[:-1])

    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT


def test_a_server_that_is_gone_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url

    with pytest.raises(TuneError, match=r"(?s)could not be downloaded:.*refused") as info:
        fetch(file_at(url), tmp_path)

    assert "EFFV2_TUNE_WEIGHTS" in str(info.value.hint)


def test_several_askers_download_once(server: Server, tmp_path: Path) -> None:
    file, paths = file_at(server.url), []
    threads = [threading.Thread(target=lambda: paths.append(fetch(file, tmp_path))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(paths) == 4
    assert server.requested == [None]


def test_a_folder_is_enough_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_at("http://127.0.0.1:9/efficientnetv2-tiny-imagenet.h5")

    with pytest.raises(TuneError, match=r"There is no efficientnetv2-tiny-imagenet\.h5 in"):
        fetch_weights(file, folder=tmp_path)
    (tmp_path / file.file_name).write_bytes(CONTENT)
    assert fetch_weights(file, folder=tmp_path) == tmp_path / file.file_name
    monkeypatch.setenv("EFFV2_TUNE_WEIGHTS", str(tmp_path))
    assert fetch_weights(file) == tmp_path / file.file_name
    (tmp_path / file.file_name).write_bytes(b"other")
    with pytest.raises(TuneError, match="is not the released file: its MD5 is"):
        fetch_weights(file)


def test_weights_that_cannot_be_had_are_a_failure_of_the_place(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the trial that needs them: the exit code of the error tells the two apart."""
    (tmp_path / "torn.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setattr(catalog, "WEIGHT_FILES", {("b0", "imagenet"): file_at(server.url)})
    server.shutdown()
    server.server_close()

    for folder in (tmp_path / "cache", tmp_path):
        monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("EFFV2_TUNE_WEIGHTS", "" if folder != tmp_path else str(folder))
        with pytest.raises(TuneError) as released:
            find_weights("b0", "imagenet")
        assert released.value.exit_code == EXIT_FAILED
    with pytest.raises(TuneError, match="There is no weight file") as gone:
        find_weights("b0", str(tmp_path / "gone.h5"))
    with pytest.raises(TuneError, match="cannot be read as weights") as torn:
        load_weights(tiny(), str(tmp_path / "torn.h5"))
    assert (gone.value.exit_code, torn.value.exit_code) == (EXIT_FAILED, EXIT_FAILED)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    monkeypatch.delenv("EFFV2_TUNE_CACHE", raising=False)
    assert str(weights_cache()) == "/some/cache/effv2-tune/weights"
    monkeypatch.setenv("EFFV2_TUNE_CACHE", "/own")
    assert str(weights_cache()) == "/own/weights"


def test_progress_is_one_line_on_stderr_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("weights.h5") as progress:
        progress(1, 10)
        progress(10, 10)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "Downloading weights.h5\n"


def test_downloading_loads_no_framework(run_python: Any) -> None:
    code = """
import sys
import effv2_tune.network.pretrained.files
import effv2_tune.network.pretrained.weights
import effv2_tune.network
print(sorted({"keras", "tensorflow", "jax"} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


# --- loading --------------------------------------------------------------------------------------


def tiny(**options: Any) -> Any:
    return training_network("tiny", **{"classes": 10, **options})


def other_weights(network: Any) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Values for each layer of a network that are not its own."""
    rng = np.random.default_rng(5)
    return {
        layer.name: [rng.random(tuple(w.shape)).astype("float32") for w in layer.variables]
        for layer in network.layers
    }


def write_released(
    path: Path,
    network: Any,
    values: dict[str, list[np.ndarray[Any, Any]]],
    *,
    group: str | None = "model_weights",
    split: int | None = None,
) -> None:
    """Write `values` as Keras 2 wrote whole models: the layout of the released files."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        names = ["input_1", *values, "stem_swish"]
        parts = [names] if split is None else [names[:split], names[split:]]
        for number, part in enumerate(parts):
            attribute = "layer_names" if split is None else f"layer_names{number}"
            root.attrs[attribute] = [name.encode() for name in part]
        for name in names:
            layer = root.create_group(name)
            leaves = []
            if name in values:
                kept = network.get_layer(name)
                depthwise = isinstance(kept, keras.layers.DepthwiseConv2D)
                leaves = [
                    f"{name}/{'depthwise_' * depthwise}{weight.name}:0" for weight in kept.variables
                ]
            layer.attrs["weight_names"] = [leaf.encode() for leaf in leaves]
            for leaf, value in zip(leaves, values.get(name, []), strict=True):
                layer.create_dataset(leaf, data=value)


def holds(network: Any, values: dict[str, list[np.ndarray[Any, Any]]], *names: str) -> bool:
    return all(
        np.array_equal(numbers(variable), value)
        for name in names or values
        for variable, value in zip(network.get_layer(name).variables, values[name], strict=True)
    )


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, dict[str, list[np.ndarray[Any, Any]]]]:
    """A file in the released layout with a classifier of 1000 classes, and what is in it."""
    network = tiny(classes=1000)
    values = other_weights(network)
    path = tmp_path / "tiny.h5"
    write_released(path, network, values)
    return path, values


def test_trunk_and_head_are_loaded_where_the_classes_fit(released: Any) -> None:
    path, values = released
    network = tiny(classes=1000)

    report = load_weights(network, str(path))

    assert holds(network, values)
    assert report.head_loaded
    assert report.layers == len(values)
    assert str(report) == f"{len(values)} layers loaded from tiny.h5 ({path}), the classifier too"


@pytest.mark.parametrize("classes", [10, 21_843])
def test_a_head_of_other_classes_stays_as_it_was_and_is_said(released: Any, classes: int) -> None:
    path, values = released
    network, fresh = tiny(classes=classes), tiny(classes=classes)

    report = load_weights(network, str(path))

    trunk = [name for name in values if name != "predictions"]
    assert holds(network, values, *trunk)
    kernel = network.get_layer("predictions").kernel
    assert np.array_equal(numbers(kernel), numbers(fresh.get_layer("predictions").kernel))
    assert not report.head_loaded
    assert report.file_classes == 1000
    assert str(report).endswith("not its classifier of 1000 classes")


def test_a_file_with_the_head_of_imagenet21k_fills_the_trunk(tmp_path: Path) -> None:
    big = tiny(classes=21_843)
    values = other_weights(big)
    write_released(tmp_path / "tiny-21k.h5", big, values)
    trunk = tiny(classes=None)

    report = load_weights(trunk, str(tmp_path / "tiny-21k.h5"))

    assert report.file_classes == 21_843
    assert not report.head_loaded
    assert load_weights(big, str(tmp_path / "tiny-21k.h5")).head_loaded


@pytest.mark.parametrize(("group", "split"), [(None, None), ("model_weights", 7)])
def test_weights_only_files_and_split_lists_of_names_are_read(
    tmp_path: Path, group: str | None, split: int | None
) -> None:
    network = tiny()
    values = other_weights(network)
    write_released(tmp_path / "w.h5", network, values, group=group, split=split)

    assert load_weights(network, str(tmp_path / "w.h5")).head_loaded
    assert holds(network, values)


def test_a_missing_layer_is_an_error_and_nothing_is_loaded(tmp_path: Path) -> None:
    network, fresh = tiny(), tiny()
    values = other_weights(network)
    del values["stack_1_block0_MB_pw_bn"], values["stack_2_block1_se_2_conv"]
    write_released(tmp_path / "w.h5", network, values)

    with pytest.raises(
        TuneError,
        match=r"does not fit variant 'tiny': 2 layers are missing "
        r"\(stack_1_block0_MB_pw_bn, stack_2_block1_se_2_conv\)",
    ):
        load_weights(network, str(tmp_path / "w.h5"))

    for mine, theirs in zip(network.variables, fresh.variables, strict=True):
        assert np.array_equal(numbers(mine), numbers(theirs))


def test_a_wrong_shape_is_an_error_that_names_it(tmp_path: Path) -> None:
    network = tiny()
    values = other_weights(network)
    values["stem_conv"] = [np.zeros((3, 3, 3, 24), "float32")]
    write_released(tmp_path / "w.h5", network, values)

    with pytest.raises(
        TuneError,
        match=r"1 layers have other shapes "
        r"\(stem_conv: \[\(3, 3, 3, 24\)\], not \[\(3, 3, 3, 8\)\]\)",
    ):
        load_weights(network, str(tmp_path / "w.h5"))


def test_a_truncated_file_is_an_error(released: Any) -> None:
    path, _ = released
    path.write_bytes(path.read_bytes()[:20_000])

    with pytest.raises(TuneError, match="cannot be read as weights"):
        load_weights(tiny(), str(path))


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TuneError, match=r"There is no weight file nowhere/w\.h5"):
        load_weights(tiny(), "nowhere/w.h5")


def test_a_name_goes_by_way_of_the_server_and_the_cache(
    server: Server, released: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, values = released
    server.content = path.read_bytes()
    file = file_at(server.url, server.content)
    monkeypatch.setattr(catalog, "WEIGHT_FILES", MappingProxyType({("tiny", "imagenet"): file}))
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))

    network = training_network("tiny", classes=1000, weights="imagenet")
    report = load_weights(tiny(), "imagenet")

    assert holds(network, values)
    assert report.scaling == "torch"
    assert report.path == tmp_path / "cache" / "weights" / file.file_name
    assert server.requested == [None]


def test_a_failed_download_never_ends_in_random_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Server() as gone:
        file = file_at(gone.url)
    monkeypatch.setattr(catalog, "WEIGHT_FILES", MappingProxyType({("tiny", "imagenet"): file}))
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)

    with pytest.raises(TuneError, match="could not be downloaded"):
        training_network("tiny", weights="imagenet")


def test_what_was_never_released_is_refused_before_any_download() -> None:
    with pytest.raises(TuneError, match="'imagenet21k' of variant 't' were never released"):
        find_weights("t", "imagenet21k")


def test_weights_that_keras_3_wrote_are_loaded(tmp_path: Path) -> None:
    network, stock_path = tiny(), tmp_path / "stock.keras"
    values = other_weights(network)
    for name, arrays in values.items():
        network.get_layer(name).set_weights(arrays)
    network.save_weights(tmp_path / "w.weights.h5")
    stock_model(network, image_shape=(40, 40, 3), resolution=32, scaling="torch").save(stock_path)

    for path in (tmp_path / "w.weights.h5", stock_path):
        again = tiny(seed=1)
        assert load_weights(again, str(path)).head_loaded
        assert holds(again, values)


def test_files_of_keras_applications_are_loaded_by_their_names(tmp_path: Path) -> None:
    peer = keras.applications.EfficientNetV2B0(
        weights=None, classes=7, input_shape=(32, 32, 3), classifier_activation=None
    )
    network = training_network("b0", classes=7)
    names = {theirs: ours for ours, theirs in keras_applications_names(network.variant)}
    peer.save_weights(tmp_path / "b0.weights.h5")
    # The published files are weights-only .h5 of Keras 2.
    with h5py.File(tmp_path / "b0.h5", "w") as file:
        layers = [layer for layer in peer.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            leaves = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [leaf.encode() for leaf in leaves]
            for leaf, value in zip(leaves, layer.get_weights(), strict=True):
                group.create_dataset(leaf, data=value)

    for path in (tmp_path / "b0.weights.h5", tmp_path / "b0.h5"):
        report = load_weights(training_network("b0", classes=7, seed=4), str(path))
        assert report.head_loaded
        load_weights(network, str(path))
        for layer in (layer for layer in peer.layers if layer.name in names):
            mine = network.get_layer(names[layer.name]).get_weights()
            assert all(map(np.array_equal, mine, layer.get_weights()))


# --- scaling --------------------------------------------------------------------------------------


def test_a_file_is_scaled_as_its_name_or_its_own_layers_say(tmp_path: Path) -> None:
    plain, named = tmp_path / "mine.h5", tmp_path / "efficientnetv2-b1-imagenet.h5"
    write_released(plain, tiny(), other_weights(tiny()))
    shutil.copy(plain, named)
    stock = stock_model(tiny(), image_shape=(40, 40, 3), resolution=32, scaling="torch")
    stock.save(tmp_path / "mine.keras")

    assert input_scaling("tiny", str(plain)) == "tf"
    assert input_scaling("b1", str(named)) == "torch"
    assert input_scaling("tiny", str(tmp_path / "mine.keras")) == "torch"
    assert input_scaling("b0", "imagenet") == "torch"
    assert input_scaling("b0", None) == input_scaling("b0", "none") == "tf"


def test_a_model_that_scales_in_a_way_of_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {**catalog.SCALINGS, "tf": ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))}
    with monkeypatch.context() as patched:
        patched.setattr("effv2_tune.network.functional.SCALINGS", own)
        stock = stock_model(tiny(), image_shape=(40, 40, 3), resolution=32, scaling="tf")
    stock.save(tmp_path / "own.keras")

    with pytest.raises(TuneError, match=r"scales its images by \[1\.0, 2\.0, 3\.0\]"):
        input_scaling("tiny", str(tmp_path / "own.keras"))


def test_the_tiny_variant_has_weights_of_its_own_nowhere() -> None:
    with pytest.raises(TuneError, match="of variant 'tiny' were never released"):
        find_weights(TINY.name, "imagenet")
