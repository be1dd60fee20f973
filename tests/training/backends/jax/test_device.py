"""The devices of JAX, and its compilation cache."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_what_jax_compiles_is_kept_in_a_folder_of_this_user_alone(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    code = """
import jax
from effv2_tune.training.backends.jax.device import keep_compilations
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
folder = keep_compilations("TPU v5 lite")
assert folder.stat().st_mode & 0o777 == 0o700
jax.jit(lambda x: x * 2 + 1)(3.0)
assert any(folder.iterdir())
print(folder.name)
"""
    name = run_python(code, KERAS_BACKEND="jax", EFFV2_TUNE_CACHE=str(tmp_path))

    assert name.strip().endswith("-TPU-v5-lite")
    assert (tmp_path / "compiled" / name.strip()).is_dir()


def test_the_compilation_cache_is_in_the_folder_that_the_environment_names(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    code = """
from effv2_tune.training.backends.jax.device import keep_compilations
print(keep_compilations("TPU v5 lite").parent)
"""
    name = run_python(code, KERAS_BACKEND="jax", EFFV2_TUNE_CACHE=str(tmp_path))

    assert name.strip() == str(tmp_path / "compiled")


@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu: the extra tpu-compiler")
def test_a_process_that_trains_on_the_cpu_does_not_load_the_compiler_of_tpus(
    run_python: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would print warnings where there is no TPU."""
    code = """
from pathlib import Path
from effv2_tune.training.devices import open_device
open_device("jax", hardware="cpu")
from keras import ops
ops.ones(3)
print("libtpu.so" in Path("/proc/self/maps").read_text())
"""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)

    assert run_python(code, KERAS_BACKEND="jax").strip() == "False"
