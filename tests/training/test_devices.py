"""The device of this process, and its record."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from effv2_tune.training.devices import open_device

ON_A_HOST = """
import sys
import jax
from effv2_tune.errors import TuneError
from effv2_tune.training.devices import open_device

port, process = sys.argv[1:]
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
try:
    open_device("jax", hardware="cpu")
except TuneError as error:
    print(error.exit_code, error)
"""


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


@pytest.mark.slow
def test_devices_of_several_hosts_are_refused_on_each_of_them() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", ON_A_HOST, str(port), str(process)],
            env=os.environ | {"KERAS_BACKEND": "jax"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for process in range(2)
    ]

    for host in hosts:
        printed, _ = host.communicate(timeout=120)
        assert printed.startswith("1 JAX uses the devices of 2 hosts as one here")
        assert "Use a slice of one host" in printed
