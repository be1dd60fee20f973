"""Compiles buckets for TPUs that are not attached, each in a process of its own."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command, probe_packages
from effv2_tune.workers.compilations import Compilation, CompiledProgram
from effv2_tune.workers.exits import describe_exit
from effv2_tune.workers.launch import worker_environment
from effv2_tune.workers.local import LocalProcess
from effv2_tune.workers.messages import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from effv2_tune.workers.compilations import CompileBucket
    from effv2_tune.workers.topology import Topology

COMPILE_COMMAND = (sys.executable, "-m", "effv2_tune.training.backends.jax.compile_process")

#: The largest networks take the compiler half an hour on a busy machine.
_TIMEOUT_SECONDS = 4 * 3600.0
_GRACE_SECONDS = 30.0


def check_compiler() -> None:
    """Check that the TPU's compiler is installed.

    Raises:
        TuneError: It is not.
    """
    packages = probe_packages()
    if not (packages.jax and packages.libtpu):
        missing = "JAX" if not packages.jax else "libtpu, which holds the TPU's compiler,"
        raise TuneError(
            f"{missing} is not installed.",
            hint=f"Install it: {install_command('tpu-compiler')}; it needs no TPU.",
            exit_code=EXIT_FAILED,
        )


def compile_environment(topology: Topology) -> dict[str, str]:
    """The environment variables of a process that compiles for a topology."""
    return worker_environment("jax", "cpu", workers=1, cpu_count=1) | {
        # Importing JAX then sets the flags that it sets on a TPU host: they are part of the keys
        # of its cache.
        "JAX_FORCE_TPU_INIT": "1",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": topology.accelerator_type,
        # Otherwise a second process that loads libtpu fails.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }


def compile_bucket(
    request: CompileBucket,
    *,
    on_program: Callable[[CompiledProgram], None] = lambda _: None,
    command: Sequence[str] = COMPILE_COMMAND,
) -> Compilation:
    """Compile the programs of a bucket.

    Args:
        request: The bucket.
        on_program: Called with each program when it is compiled.
        command: The process; ``--fd N`` is added.

    Raises:
        TuneError: The TPU's compiler is not installed, does not know the topology, or fails.
    """
    check_compiler()
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        log = Path(folder) / "compile.log"
        environment = compile_environment(request.topology)
        process = LocalProcess(command, environment=environment, log=log)
        try:
            process.connection.send(request)
            for message in process.messages(timeout_seconds=_TIMEOUT_SECONDS):
                if isinstance(message, Refused):
                    raise message.error()
                if isinstance(message, CompiledProgram):
                    on_program(message)
                if isinstance(message, Compilation):
                    return message
            status = process.end(grace_seconds=_GRACE_SECONDS)
        finally:
            process.end(grace_seconds=0.0)
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    raise TuneError(
        f"The process that compiles {request.key.label} ended: {describe_exit(status)}",
        hint="\n".join(["The end of its output:", *tail]),
        exit_code=EXIT_FAILED,
    )
