"""What `compile` says before anything is compiled; `tests/end_to_end` compiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from effv2_tune.workers import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    Tune = Callable[..., Outcome]


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without libtpu."""
    packages = replace(compiling.probe_packages(), jax=True, libtpu=False)
    monkeypatch.setattr(compiling, "probe_packages", lambda: packages)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("compile", "study.yaml"), "Missing option '--device'"),
        (
            ("compile", "study.yaml", "--device", "v5e-6"),
            "There is no compiler for device 'v5e-6', did you mean 'v5e-",
        ),
        (("compile", "study.yaml", "--device", "h100"), "Known TPU hosts: v5e-1, v5e-4, v5e-8"),
        (("plan", "study.yaml", "--compile", "all"), "Name it with --device"),
        (
            ("plan", "study.yaml", "--compile", "all", "--device", "h100"),
            "There is no compiler for device 'h100'",
        ),
        (("plan", "study.yaml", "--compile", "some", "--device", "v5e-8"), "'largest', 'all'"),
    ],
)
def test_a_device_without_a_compiler_is_a_wrong_input(
    tune: Tune, command: tuple[str, ...], sentence: str
) -> None:
    done = tune(*command)

    assert done.code == 2
    assert sentence in done.err
    assert done.out == ""


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("command", [("compile",), ("plan", "--compile", "largest")])
def test_without_the_compiler_its_package_is_named(tune: Tune, command: tuple[str, ...]) -> None:
    name, *options = command

    done = tune(name, "study.yaml", *options, "--device", "v5e-8")

    assert done.code == 1
    assert "libtpu, which holds the TPU's compiler, is not installed." in done.err
    assert "tpu-compiler" in done.err
