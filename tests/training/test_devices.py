"""The device of this process, and its record."""

from __future__ import annotations

import os

import pytest

from effv2_tune.training.devices import open_device


@pytest.mark.parametrize("given", ["1", "0", "9999", "many", None])
def test_an_environment_says_how_many_threads_compute(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = len(os.sched_getaffinity(0))
    if given is None:
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    else:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)

    environment = open_device("tensorflow", hardware="cpu").environment

    assert environment.threads == (1 if given == "1" else everything)
    assert environment.hardware == "cpu"
