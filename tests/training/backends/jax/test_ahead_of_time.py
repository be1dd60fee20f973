"""What the TPU's own compiler makes of the steps, without a TPU."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from tests.training.backends.jax.compiler import request, tiny

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.workers.compiling import compile_bucket, compile_environment
from effv2_tune.workers.topology import find_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.workers.compilations import CompiledProgram

#: Trains the classifier alone, which compiles in a second.
FROZEN = tiny(variant="b0", backbone="frozen", weights="imagenet", ema=False, crop_padding=0)
OF_A_COMPILATION = compile_environment(find_topology("v5e-8"))


@pytest.fixture(scope="module")
def compiler() -> None:
    """The TPU's compiler, which tests that need it are skipped without."""
    if find_spec("libtpu") is None:
        pytest.skip("needs libtpu, the TPU's compiler: pip install -e '.[tpu-compiler]'")


@pytest.fixture(autouse=True)
def no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flags of XLA: those with which the tests compile for the processor are no user's."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)


@pytest.mark.slow
def test_a_second_process_compiles_while_one_has_the_library(
    compiler: None,
) -> None:
    """The second one starts and ends before the process of the first has ended."""
    del compiler
    inner = []

    def compile_another(_: CompiledProgram) -> None:
        inner.append(compile_bucket(request(FROZEN, "v5e-1", kinds=("train",))))

    outer = compile_bucket(request(FROZEN, "v5e-4", kinds=("train",)), on_program=compile_another)

    assert outer.fits
    assert [one.fits for one in inner] == [True]


@pytest.mark.slow
def test_what_does_not_fit_is_no_error_and_states_what_it_needs(compiler: None) -> None:
    """Features of two views of three million images, 31 GB, on chips of 16 GB."""
    del compiler
    asked = request(FROZEN, "v5e-1", kinds=("train",))
    data = asked.data.model_copy(update={"train": 3_000_000})

    (program,) = compile_bucket(
        asked.model_copy(update={"data": data, "image_bytes": int(1e12)})
    ).programs

    assert not program.fits
    assert program.needed_bytes > 3e6 * 2 * 1280 * 4 > 16e9
    assert program.memory_bytes == program.needed_bytes


@pytest.mark.slow
def test_an_unknown_topology_is_an_error_message(compiler: None) -> None:
    del compiler
    wrong = request(tiny(), "v5e-4")
    topology = wrong.topology.model_copy(update={"description": "v5e:3x7"})

    with pytest.raises(TuneError, match="cannot be used for v5e-4") as refused:
        compile_bucket(wrong.model_copy(update={"topology": topology}))
    assert refused.value.exit_code == EXIT_FAILED


SAME_TEXT = """
import numpy as np
import jax
from effv2_tune.training.backends.jax.ahead_of_time import (
    image_rows, lowered_programs, topology_backend,
)
from effv2_tune.training.backends.jax import ahead_of_time
from effv2_tune.training.backends.jax.device import JaxBackend
from effv2_tune.training.backends.jax.mesh import device_mesh
from tests.training.backends.jax.compiler import request, tiny

asked = request(tiny(), "v5e-8")
absent = topology_backend(asked.topology)
attached = JaxBackend(device_mesh(jax.devices("cpu")), "tpu", absent.device_names)
texts = [program.lowered.as_text() for program in lowered_programs(asked, absent)]
data = attached.place(image_rows(asked.data), asked.image_bytes)
steps = ahead_of_time._steps(asked, attached, data)
arguments = steps._training_arguments(0, 1)
assert all(isinstance(array, jax.Array) for array in jax.tree.leaves(arguments[:4]))
traced = steps._train_steps.trace(*arguments)
assert traced.lower(lowering_platforms=("tpu",)).as_text() == texts[0]
arguments = next(steps._window_arguments(data["validation"], None))
traced = steps._evaluation_steps.trace(steps._evaluated(), *arguments)
assert traced.lower(lowering_platforms=("tpu",)).as_text() == texts[1]
"""


@pytest.mark.slow
def test_a_run_lowers_the_same_programs_as_a_compilation_ahead_of_time(
    compiler: None, run_python: Callable[..., str]
) -> None:
    """On eight attached devices with real arrays; the text is most of the key of JAX's cache."""
    del compiler
    run_python(SAME_TEXT, **OF_A_COMPILATION, JAX_NUM_CPU_DEVICES="8")


EVERY_HOST = """
import os
from effv2_tune.workers.accelerators import named, recognise
from effv2_tune.training.backends.jax.ahead_of_time import topology_backend
from effv2_tune.workers.topology import TOPOLOGIES

# What JAX sets on a TPU host is part of the keys of its cache.
assert "--xla_tpu" in os.environ["LIBTPU_INIT_ARGS"]
for name, topology in TOPOLOGIES.items():
    backend = topology_backend(topology)
    assert len(backend.device_names) == topology.devices, name
    assert recognise(backend.device_names[0]) == named(name)[0], name
    assert {device.process_index for device in backend.mesh.devices.flat} == {0}, name
"""


@pytest.mark.slow
def test_the_compiler_knows_every_host_of_the_table_as_it_is_there(
    compiler: None, run_python: Callable[..., str]
) -> None:
    """Number and kind of its devices, and that it is one host."""
    del compiler
    run_python(EVERY_HOST, **OF_A_COMPILATION)
