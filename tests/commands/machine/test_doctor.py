"""What `doctor` says of a machine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from effv2_tune import host

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome


@pytest.mark.parametrize("has_compiler", [True, False])
def test_the_compiler_of_tpus_is_no_tpu(
    tune: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, *, has_compiler: bool
) -> None:
    packages = replace(host.probe_packages(), libtpu=has_compiler)
    monkeypatch.setattr(host, "probe_packages", lambda: packages)

    (said,) = [line for line in tune("doctor").out.splitlines() if line.startswith("tpu ")]
    facts = json.loads(tune("doctor", "--json").out)

    assert said.split()[1].startswith("none")
    assert ("can compile for one" in said) == has_compiler
    assert (facts["host"]["tpu_chips"], facts["use"]["kind"]) == (0, "cpu")
    assert facts["tpu"] is None
    assert facts["packages"]["libtpu"] == has_compiler
