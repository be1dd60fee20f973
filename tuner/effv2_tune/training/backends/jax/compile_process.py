"""Runs the process that compiles a bucket for TPUs that are not attached."""

from __future__ import annotations

import argparse
import os
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import jax

from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, TuneError
from effv2_tune.host import installed_versions
from effv2_tune.training.backends.jax.ahead_of_time import (
    compile_program,
    lowered_programs,
    topology_backend,
)
from effv2_tune.training.backends.jax.device import compilation_folder
from effv2_tune.training.backends.jax.handover import (
    VERSIONS,
    Entry,
    Record,
    entries_in,
    program_key,
)
from effv2_tune.workers.compilations import Compilation
from effv2_tune.workers.messages import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from effv2_tune.training.backends.jax.ahead_of_time import LoweredProgram
    from effv2_tune.workers.compilations import CompileBucket, CompiledProgram
    from effv2_tune.workers.topology import Topology

#: Compilations that take less are not kept.
_NOT_KEPT_SECONDS = 3600.0


def compile_bucket(connection: Connection[Any, Any], request: CompileBucket) -> None:
    """Compile the programs of a bucket, and send the figures of each.

    Raises:
        TuneError: The TPU's compiler is not installed, or does not know the topology.
    """
    backend = topology_backend(request.topology)
    device_kind = backend.device_names[0]
    folder = None
    if request.cache is not None:
        folder = compilation_folder(request.cache, device_kind)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _NOT_KEPT_SECONDS)
    programs = []
    for program in lowered_programs(request, backend):
        programs.append(compiled_or_found(program, request.topology, folder))
        connection.send(programs[-1])
    connection.send(
        Compilation(
            programs=tuple(programs),
            versions=installed_versions(VERSIONS),
            device_kind=device_kind,
            folder=folder,
        )
    )


def compiled_or_found(
    program: LoweredProgram, topology: Topology, folder: Path | None
) -> CompiledProgram:
    """Compile a program, unless its entry is in the cache and its figures are in the record.

    JAX cannot load an entry without a TPU, and would compile again.
    """
    if folder is None:
        return compile_program(program, topology)
    key = program_key(program.lowered.as_text(), topology)
    record, before = Record.read(folder), entries_in(folder)
    found = record.entries.get(key)
    if found is not None and found.file in before:
        return found.program.model_copy(update={"reused": True})
    # What JAX compiles for the processor in between is not kept.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compiled = compile_program(program, topology)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _NOT_KEPT_SECONDS)
    written = [name for name, at in entries_in(folder).items() if before.get(name) != at]
    if written:
        compiled = compiled.model_copy(update={"cache_key": written[-1]})
        entry = Entry(
            file=written[-1],
            devices=topology.devices,
            versions=installed_versions(VERSIONS),
            program=compiled,
        )
        Record(entries={**Record.read(folder).entries, key: entry}).write(folder)
    return compiled


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive a `CompileBucket`, and send the programs over the connection."""
    parser = argparse.ArgumentParser(
        prog="python -m effv2_tune.training.backends.jax.compile_process"
    )
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    connection: Connection[Any, Any] = Connection(parser.parse_args(arguments).fd)
    try:
        request = connection.recv()
        threading.Thread(target=_exit_with, args=(connection,), daemon=True).start()
        compile_bucket(connection, request)
    except TuneError as error:
        return _refuse(connection, error)
    except Exception as error:
        traceback.print_exc()
        message = f"The compilation failed: {type(error).__name__}: {str(error)[:500]}"
        return _refuse(connection, TuneError(message, exit_code=EXIT_FAILED))
    return EXIT_DONE


def _refuse(connection: Connection[Any, Any], error: TuneError) -> int:
    connection.send(Refused.of(error))
    return error.exit_code


def _exit_with(connection: Connection[Any, Any]) -> None:
    """End this process, which may be inside the compiler, as soon as the command is gone."""
    with suppress(EOFError, OSError):
        connection.recv()
    os._exit(EXIT_DONE)


if __name__ == "__main__":
    # os._exit: no need to wait for the compiler's threads.
    os._exit(main())
