"""Hostile and damaged batches of CIFAR end in an error message, in a process of their own."""

from __future__ import annotations

import pickle
import random
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

READER = Path(__file__).with_name("batch_reader.py")
DTYPE = b"cnumpy\ndtype\n"
NDARRAY = b"cnumpy\nndarray\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
ADDRESSES = b"U\x08AAAAAAAA"
#: ndarray((1,), dtype('O'), b'AAAAAAAA'): an array whose element is at an address of choice.
OBJECT_AT = NDARRAY + b"K\x01\x85" + DTYPE + b"U\x01O\x85R" + ADDRESSES + b"\x87R"
SHAPE = b"K\x02M\x00\x0c\x86"
PIXELS = b"T" + struct.pack("<I", 2 * 3072) + bytes(range(256)) * 24
#: dtype('u1') and dtype('i8') with the states that NumPy writes.
PIXEL_TYPE = (
    DTYPE + b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
EMPTY = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R"
IMAGES = EMPTY + b"(K\x01" + SHAPE + PIXEL_TYPE + b"\x89" + PIXELS + b"tb"
LABELS = b"](K\x06K\x09e"


def batch(data: bytes = IMAGES, labels: bytes = LABELS, before: bytes = b"") -> bytes:
    return b"\x80\x02" + before + b"}(U\x04data" + data + b"U\x06labels" + labels + b"u."


def state(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    return EMPTY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def dtype(code: bytes, changes: bytes) -> bytes:
    """A type of numbers whose state has other bytes for fields, sizes and flags."""
    return DTYPE + b"U" + bytes([len(code)]) + code + b"K\x00K\x01\x87R(K\x03" + changes + b"tb"


ORDERED = b"U\x01%bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK%b"
HAS_OBJECT = ORDERED % (b"|", b"\x3f")  # the flags of Python objects, on numbers
FIELDS = b"U\x01|N(U\x01ftU\x01f}U\x01f" + DTYPE + b"U\x01O\x85RK\x00\x86sK\x08K\x01K\x3f"

FORGED = {
    "label_of_object_array": batch(labels=b"]" + OBJECT_AT + b"a"),
    "labels_of_object_array": batch(labels=OBJECT_AT),
    "shape_of_object_array": batch(data=NDARRAY + OBJECT_AT + b"\x85R"),
    "data_of_object_array": batch(data=OBJECT_AT),
    "object_array_beside_the_data": batch(labels=LABELS + b"U\x01x" + OBJECT_AT),
    "reconstructed_object_array": batch(
        labels=state(b"K\x01\x85", DTYPE + b"U\x01O\x85R", b"]" + ADDRESSES + b"a")
    ),
    "object_type_by_flags": batch(
        labels=state(b"K\x01\x85", dtype(b"i8", HAS_OBJECT), ADDRESSES)
    ),
    "object_type_by_fields": batch(labels=state(b"K\x01\x85", dtype(b"V8", FIELDS), ADDRESSES)),
    "text_of_any_length": batch(labels=state(b"K\x01\x85", DTYPE + b"U\x02S8\x85R", ADDRESSES)),
    "constructed_uninitialised": batch(data=NDARRAY + SHAPE + b"U\x02u1\x86R"),
    "reconstructed_uninitialised": batch(data=RECONSTRUCT + NDARRAY + SHAPE + b"U\x02u1\x87R"),
    "newobj_uninitialised": batch(data=NDARRAY + SHAPE + b"U\x02u1\x86\x81"),
    "array_without_state": batch(data=EMPTY),
    "labels_without_state": batch(labels=EMPTY),
    "fewer_bytes_than_the_shape": batch(data=state(SHAPE, PIXEL_TYPE, ADDRESSES)),
    "negative_side": batch(
        data=state(b"J\xff\xff\xff\xffM\x00\x0c\x86", PIXEL_TYPE, PIXELS)
    ),
    "attributes_of_ndarray": batch(before=NDARRAY + b"}U\x05shapeK\x00sb0"),
    "attributes_of_a_function": batch(before=RECONSTRUCT + b"N}U\x08__name__U\x01xs\x86b0"),
    "subclass": batch(data=b"cnumpy\nmemmap\nU\x0b/etc/passwd\x85R"),
    "builtin": batch(data=b"c__builtin__\neval\nU\x011\x85R"),
    "dotted_name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
    "extension": batch(data=b"\x82\x01"),
    "persistent_id": batch(data=b"Px\n"),
    "terminal_sequence": batch(data=b"cos\n\x1b[2Jsystem\n)R"),
    "deep_key": b"\x80\x02})" + b"\x85" * 5_000_000 + b"K\x01s.",
    "wide_key": b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.",
    "huge_memo": batch(before=b"]r\xff\xff\xff\xff0"),
    "huge_bytes": batch(data=b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f"),
    "nested_labels": batch(
        labels=b"]q\x00(" + b"K\x01" * 10 + b"e"
        + b"".join(b"]q%c(" % (n + 1) + b"h%c" % n * 10 + b"e" for n in range(12))
    ),
    "list_in_itself": batch(labels=b"]q\x00h\x00a"),
    "many_operations": b"\x80\x02" + b"]" * 20_000_000 + b".",
}  # fmt: skip


def read(*paths: Path) -> dict[str, str]:
    """What a process of its own reads from batches."""
    done = subprocess.run(
        [sys.executable, READER, *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-2000:])
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_the_batch_that_the_forgeries_are_made_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "valid").write_bytes(batch())

    (outcome,) = read(tmp_path / "valid").values()

    assert len(outcome) == 64  # a digest


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_batch_is_refused_and_harms_nothing(tmp_path: Path, how: str) -> None:
    (tmp_path / how).write_bytes(FORGED[how])

    (outcome,) = read(tmp_path / how).values()

    assert outcome.startswith("test_batch ")  # a message, not a digest
    assert outcome.isprintable()
    assert len(outcome) < 300


def test_numbers_with_a_forged_byte_order_leave_the_types_of_numpy_alone(tmp_path: Path) -> None:
    big = state(b"K\x02\x85", dtype(b"i4", ORDERED % (b">", b"\x00")), b"U\x08\0\0\0\1\0\0\0\2")
    (tmp_path / "big_endian").write_bytes(batch(labels=big))

    (outcome,) = read(tmp_path / "big_endian").values()

    assert len(outcome) == 64


@pytest.mark.parametrize("how", ["label_of_object_array", "reconstructed_uninitialised"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("command", [("check",), ("run", "--dry-run")])
def test_a_forged_batch_is_refused_before_a_study_starts(
    tmp_path: Path, command: tuple[str, ...], how: str, *, packed: bool
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(batch())
    path = folder.name
    (folder / "data_batch_4").write_bytes(FORGED[how])
    if packed:
        path = "cifar.tar.gz"
        with tarfile.open(tmp_path / path, "w:gz") as archive:
            archive.add(folder, folder.name)
    (tmp_path / "study.yaml").write_text(
        f"name: forged\ntrials: 2\ndata: {{name: cifar10, path: {path}}}\n"
        "search_space:\n  weight_decay: {type: float, low: 1e-6, high: 1e-1}\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "effv2_tune", command[0], "study.yaml", *command[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2, done.stdout + done.stderr
    assert "data_batch_4 is not a batch of CIFAR" in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stdout + done.stderr


def valid_batches() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), np.uint8)
    made = {b"batch_label": b"1 of 1", b"labels": [3, 7], b"data": pixels}
    labelled = made | {b"labels": np.array([3, 7])}
    protocols = [pickle.dumps(made, protocol=protocol) for protocol in (0, 2, 4)]
    return [batch(), *protocols, pickle.dumps(labelled, protocol=2)]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Changes of one to three places, mostly outside the pixels: there is what can go wrong."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        edge = chance.choice([150, len(changed)])
        place = min(chance.choice([1, -1]) * chance.randint(0, edge) % len(changed), len(changed))
        how = chance.choice(["flip", "byte", "cut", "insert", "delete", "copy"])
        if how == "flip":
            changed[place] ^= 1 << chance.randrange(8)
        elif how == "byte":
            changed[place] = chance.choice([0, 0xFF, *b".()[]}{abcehjqrsturKMJIURN0123", 0x93])
        elif how == "cut" and place > 20:
            del changed[place:]
        elif how == "insert":
            changed[place:place] = chance.randbytes(chance.randint(1, 4))
        elif how == "delete":
            del changed[place : place + chance.randint(1, 4)]
        else:
            changed[place:place] = changed[place : place + chance.randint(1, 40)]
    return bytes(changed)


def test_300_mutated_batches_give_what_they_hold_or_an_error_message(tmp_path: Path) -> None:
    chance, valid = random.Random(5), valid_batches()  # noqa: S311 - repeatable, no secret
    paths = [tmp_path / f"{number:03}" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(mutated(valid[number % len(valid)], chance))

    outcomes = read(*paths)

    assert list(outcomes) == [path.name for path in paths]
    messages = [outcome for outcome in outcomes.values() if " " in outcome]
    assert all(message.startswith("test_batch ") or "labels" in message for message in messages)
    assert 100 < len(messages) < 290
