"""Known datasets: downloaded from a server, or in any of their forms on disk."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split
from tests.files.http_server import Server

from effv2_tune.data import check_dataset, load_dataset
from effv2_tune.data.formats import read_batch
from effv2_tune.data.registry import KNOWN, KnownDataset, RemoteFile
from effv2_tune.errors import TuneError
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

CIFAR10 = DataSpec(name="cifar10", path="data", stratify=False)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def tiny_arrays(count: int, seed: int, shape: tuple[int, ...] = (32, 32, 3)) -> Any:
    """Random images whose labels are in the order that a folder of them is read in."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    order = np.random.default_rng(0).permutation(count)
    return images, (np.arange(count) * 10 // count)[order]


def batch_of(images: np.ndarray, labels: np.ndarray, key: bytes = b"labels") -> bytes:
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return pickle.dumps({b"data": flat, key: labels.tolist()}, protocol=2)


def write_batches(folder: Path) -> tuple[Any, Any]:
    """Five batches of 20 images and a test batch; returns the training and test arrays."""
    train, test = tiny_arrays(100, 1), tiny_arrays(30, 2)
    folder.mkdir(parents=True)
    for number in range(5):
        rows = slice(20 * number, 20 * number + 20)
        (folder / f"data_batch_{number + 1}").write_bytes(batch_of(train[0][rows], train[1][rows]))
    (folder / "test_batch").write_bytes(batch_of(*test))
    return train, test


def write_tar(folder: Path, path: Path) -> bytes:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path.read_bytes()


def with_remote(known: KnownDataset, server: Server, contents: list[bytes]) -> KnownDataset:
    """``known``, as if published by ``server`` with these contents."""
    remote = []
    for file, content in zip(known.remote, contents, strict=True):
        server.files[f"/{file.name}"] = content
        checksum = hashlib.sha256(content).hexdigest()
        remote.append(RemoteFile(file.name, (f"{server.address}/{file.name}",), checksum))
    return dataclasses.replace(known, remote=tuple(remote))


def test_cifar10_is_downloaded_once_and_split_as_scikit_learn_does(
    server: Server, tmp_path: Path
) -> None:
    (images, labels), test = write_batches(tmp_path / "cifar-10-batches-py")
    packed = write_tar(tmp_path / "cifar-10-batches-py", tmp_path / "all.tar.gz")
    known = {"cifar10": with_remote(KNOWN["cifar10"], server, [packed])}
    spec = DataSpec(name="cifar10", validation=0.1, stratify=False, split_seed=42)

    for _ in range(2):
        dataset = load_dataset(spec, base=tmp_path, cache=tmp_path / "cache", known=known)

    train, validation = train_test_split(np.arange(100), test_size=0.1, random_state=42)
    np.testing.assert_array_equal(dataset.train.images, images[train])
    np.testing.assert_array_equal(dataset.train.labels, labels[train])
    np.testing.assert_array_equal(dataset.validation.images, images[validation])
    np.testing.assert_array_equal(dataset.test.images, test[0])
    assert dataset.classes[3] == "cat"
    assert len(server.requests) == 1


def test_all_forms_of_cifar10_on_disk_are_the_same_dataset(tmp_path: Path) -> None:
    train, test = write_batches(tmp_path / "batches/cifar-10-batches-py")
    write_tar(tmp_path / "batches/cifar-10-batches-py", tmp_path / "all.tar.gz")
    np.savez(
        tmp_path / "any.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1]
    )
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras/cifar10.npz").write_bytes((tmp_path / "any.npz").read_bytes())
    for split, (images, labels) in (("train", train), ("test", test)):
        order = np.random.default_rng(0).permutation(len(images))
        for place, image, label in zip(order, images, labels, strict=True):
            folder = tmp_path / "folder" / split / KNOWN["cifar10"].classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{place:04}.png")

    paths = ["batches", "batches/cifar-10-batches-py", "all.tar.gz", "any.npz", "keras", "folder"]
    found = {
        path: load_dataset(CIFAR10.model_copy(update={"path": path}), base=tmp_path)
        for path in paths
    }

    assert len({one.digest for one in found.values()}) == 1
    assert all(one.classes == KNOWN["cifar10"].classes for one in found.values())
    for path in paths:
        assert check_dataset(CIFAR10.model_copy(update={"path": path}), base=tmp_path) == []


def test_plain_kinds_read_the_same_images_as_the_known_name(tmp_path: Path) -> None:
    train, test = tiny_arrays(100, 1), tiny_arrays(30, 2)
    np.savez(
        tmp_path / "data.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1]
    )
    known = CIFAR10.model_copy(update={"path": "data.npz"})
    plain = DataSpec(name="npz", path="data.npz", stratify=False)

    digests = {load_dataset(spec, base=tmp_path).digest for spec in (known, plain)}

    assert len(digests) == 1


def test_cifar100_has_its_hundred_fine_classes(tmp_path: Path) -> None:
    images, _ = tiny_arrays(200, 3)
    for name, rows in (("train", slice(150)), ("test", slice(150, 200))):
        (tmp_path / name).write_bytes(
            batch_of(images[rows], np.arange(200)[rows] % 100, b"fine_labels")
        )
    spec = DataSpec(name="cifar100", path=str(tmp_path), stratify=False)

    dataset = load_dataset(spec, base=Path())

    assert len(dataset.classes) == len(set(dataset.classes)) == 100
    assert list(dataset.classes) == sorted(dataset.classes)
    assert (len(dataset.train), len(dataset.test)) == (135, 50)


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def idx_files() -> tuple[dict[str, bytes], np.ndarray]:
    train, test = tiny_arrays(100, 4, (28, 28)), tiny_arrays(20, 5, (28, 28))
    names = [name for names in KNOWN["mnist"].members for name in names]
    return dict(zip(names, map(idx, (*train, *test)), strict=True)), test[0]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_downloaded_or_read_from_disk_packed_or_not(
    server: Server, tmp_path: Path, name: str
) -> None:
    files, test = idx_files()
    packed = [gzip.compress(content) for content in files.values()]
    known = {name: with_remote(KNOWN[name], server, packed)}
    plain = tmp_path / KNOWN[name].folder
    plain.mkdir(parents=True)
    for member, content in files.items():
        (plain / member).write_bytes(content)
    spec = DataSpec(name=name, stratify=False)

    fetched = load_dataset(spec, base=tmp_path, cache=tmp_path / "cache", known=known)
    on_disk = load_dataset(spec.model_copy(update={"path": "."}), base=tmp_path)

    assert fetched.digest == on_disk.digest
    np.testing.assert_array_equal(on_disk.test.images, np.repeat(test[..., None], 3, axis=-1))
    assert on_disk.classes == KNOWN[name].classes


@pytest.mark.parametrize("kept_bytes", [0, 3, 10, 1000])
def test_a_cut_idx_file_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    files, _ = idx_files()
    for member, content in files.items():
        (tmp_path / member).write_bytes(content)
    member = "train-images-idx3-ubyte"
    (tmp_path / member).write_bytes(files[member][:kept_bytes])

    with pytest.raises(TuneError, match=f"{member} is not a complete IDX file"):
        load_dataset(DataSpec(name="mnist", path="."), base=tmp_path)


def test_a_gzip_that_is_none_is_refused(tmp_path: Path) -> None:
    files, _ = idx_files()
    for member, content in files.items():
        (tmp_path / f"{member}.gz").write_bytes(content)

    with pytest.raises(TuneError, match="cannot be unpacked"):
        load_dataset(DataSpec(name="mnist", path="."), base=tmp_path)


class Malice:
    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def test_a_pickle_that_names_a_program_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_batches(tmp_path / "data")
    (tmp_path / "data/test_batch").write_bytes(pickle.dumps({b"data": Malice()}))

    with pytest.raises(TuneError, match=r"names (posix|os)\.system"):
        load_dataset(CIFAR10, base=tmp_path)
    assert not (tmp_path / "harmed").exists()


def test_a_pickle_written_by_python_2_is_read() -> None:
    # As in the official files: str keys and pixels, dtype('u1', 0, 1), by protocol 2.
    pixels = bytes(range(256)) * 24
    pickled = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\n"
        b"ndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x06"
        b"U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
        b"b\x89T" + struct.pack("<I", len(pixels)) + pixels + b"tbU\x06labels](K\x06K\x09eu."
    )

    part = read_batch(pickled, "data_batch_1", "labels")

    assert part.labels.tolist() == [6, 9]
    expected = np.frombuffer(pixels, np.uint8).reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(part.images, expected)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "test_batch is not a batch of CIFAR"),
        (pickle.dumps([1, 2]), "test_batch is not a batch of CIFAR"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}), r"\(2, 5\)"),
        (
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}),
            "holds the label -1",
        ),
        (
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
            "holds the label 10, but there are 10 classes, 0 to 9",
        ),
    ],
)
def test_a_batch_of_another_make_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    write_batches(tmp_path / "data")
    (tmp_path / "data/test_batch").write_bytes(content)

    with pytest.raises(TuneError, match=sentence) as refused:
        load_dataset(CIFAR10, base=tmp_path)
    assert refused.value.hint


def test_what_is_no_form_of_the_dataset_is_refused_by_check_and_load(tmp_path: Path) -> None:
    def assert_refused(sentence: str) -> None:
        with pytest.raises(TuneError, match=sentence) as refused:
            load_dataset(CIFAR10, base=tmp_path)
        assert check_dataset(CIFAR10, base=tmp_path) == [str(refused.value).replace("\n", " ")]

    assert_refused("There is no file or folder")
    (tmp_path / "data").write_text("text")
    assert_refused("is not a readable form of cifar10")
    (tmp_path / "data").unlink()
    (tmp_path / "data").mkdir()
    assert_refused("has no readable form of cifar10")
    (tmp_path / "data").rmdir()
    write_batches(tmp_path / "data")
    (tmp_path / "data/data_batch_3").unlink()
    assert_refused("lacks data_batch_3")


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    write_batches(tmp_path / "cifar-10-batches-py")
    packed = write_tar(tmp_path / "cifar-10-batches-py", tmp_path / "all.tar.gz")
    spec = CIFAR10.model_copy(update={"path": "all.tar.gz"})
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w:gz"):
        pass

    for content in (packed[: len(packed) // 2], b"no archive", other.getvalue()):
        (tmp_path / "all.tar.gz").write_bytes(content)
        with pytest.raises(TuneError, match="cannot be unpacked as the archive of cifar10"):
            load_dataset(spec, base=tmp_path)


def test_every_known_dataset_is_one_of_a_study_and_has_addresses_and_checksums() -> None:
    for name, known in KNOWN.items():
        assert DataSpec(name=name).name == known.name  # type: ignore[arg-type]
        for file in known.remote:
            assert all(url.endswith(file.name) for url in file.urls)
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)


@pytest.mark.slow
@pytest.mark.long
def test_the_shared_images_of_cifar10_are_one_dataset_in_all_three_forms(
    shared: Path, tmp_path: Path
) -> None:
    script = shared / "data/unpack_cifar10.py"
    subprocess.run([sys.executable, script, tmp_path, "--form", "all"], check=True)
    spec = DataSpec(name="npz", path="cifar10.npz", validation=0.1, stratify=False, split_seed=42)
    forms = {
        "cifar10.npz": ("npz", "cifar10"),
        "cifar-10-batches-py": ("cifar10",),
        "folder": ("folder", "cifar10"),
    }

    digests = {
        load_dataset(
            spec.model_copy(update={"name": name, "path": path}),
            base=tmp_path,
            cache=tmp_path / "cache",
        ).digest
        for path, names in forms.items()
        for name in names
    }

    assert len(digests) == 1
    dataset = load_dataset(spec, base=tmp_path)
    file = np.load(tmp_path / "cifar10.npz")
    train, validation = train_test_split(np.arange(50_000), test_size=0.1, random_state=42)
    np.testing.assert_array_equal(dataset.train.images, file["x_train"][train])
    np.testing.assert_array_equal(dataset.train.labels, file["y_train"][train])
    np.testing.assert_array_equal(dataset.validation.images, file["x_train"][validation])
    np.testing.assert_array_equal(dataset.test.images, file["x_test"])
