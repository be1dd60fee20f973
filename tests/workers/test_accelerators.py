"""Accelerators are found by the names that backends, drivers and users give them."""

from __future__ import annotations

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.workers.accelerators import ACCELERATORS, named, recognise


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("TPU v5 lite", "v5e"),
        ("TPU v5e", "v5e"),
        ("TPU v6 lite", "v6e"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", None),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v4", "v4"),
        ("TPU v3", "v3"),
        ("TPU v2", "v2"),
        ("TPU7x", None),
        ("AMD EPYC", None),
    ],
)
def test_a_device_is_known_by_the_name_that_its_driver_gives(
    reported: str, name: str | None
) -> None:
    found = recognise(reported)

    assert (None if found is None else found.name) == name


def test_every_device_of_the_table_is_recognised_by_its_own_name() -> None:
    assert [recognise(chip.device_kind) for chip in ACCELERATORS] == list(ACCELERATORS)


def test_a_person_names_a_device_and_how_many() -> None:
    assert (named("v5e-8")[0].name, named("v5e-8")[1]) == ("v5e", 8)
    assert (named("T4-2")[0].name, named("T4-2")[1]) == ("t4", 2)
    assert (named("v4-8")[0].name, named("v4-8")[1]) == ("v4", 4)
    assert (named("v5p")[0].name, named("v5p")[1]) == ("v5p", 1)
    assert (named("a100-80gb")[0].memory, named("a100-80gb")[1]) == (80e9, 1)
    with pytest.raises(TuneError, match=r"Unknown device 'v5a', did you mean 'v5e'") as wrong:
        named("v5a")
    assert wrong.value.exit_code == EXIT_WRONG_INPUT
    assert "v6e" in (wrong.value.hint or "")
