"""The table and the data of `compile`, for a bucket that fits and one that does not."""

from __future__ import annotations

from tests.forecast.examples import DATA, plan_of, target

from effv2_tune.forecast.study import StudyForecast, forecast_study
from effv2_tune.session.compilation_text import as_data, lines
from effv2_tune.workers.compilations import Compilation, CompiledProgram

GIGABYTE = 10**9


def compiled() -> StudyForecast:
    """B0 fits a v5e-8; S was refused with 23.5 GB for a step."""
    plan = plan_of(recipe={"resolution": 384, "schedule": "constant", "batch_size": 1024})
    where = target("v5e-8")

    def forecast(compiled: dict[str, Compilation] | None = None) -> StudyForecast:
        return forecast_study(
            plan, DATA, where, on_disk=False, feature_limit=GIGABYTE, compiled=compiled
        )

    facts = {"b0": {"temp_bytes": 3 * GIGABYTE}, "s": {"needed_bytes": 23_500_000_000}}
    reasons = {"b0": "", "s": "RESOURCE_EXHAUSTED"}
    return forecast(
        {
            one.share.key.digest: Compilation(
                programs=(
                    CompiledProgram(
                        kind="train",
                        split="train",
                        compile_cpu_seconds=1.0,
                        reason=reasons[one.share.key.variant],
                        **facts[one.share.key.variant],
                    ),
                ),
                versions={"jax": "0.10.2"},
                device_kind="TPU v5 lite",
            )
            for one in forecast().buckets
        }
    )


def test_a_bucket_that_does_not_fit_is_followed_by_what_would_in_80_columns() -> None:
    shown = list(lines(compiled()))

    (position,) = (
        at for at, line in enumerate(shown) if "! does not fit: 23.5 GB of 16 GB" in line
    )
    assert shown[position + 1].startswith("  estimated to fit: batch ")
    assert "v6e-8" in shown[position + 1] + shown[position + 2]
    assert "estimated to fit: by the formulas of plan, not compiled; one change each" in shown
    assert max(map(len, shown)) <= 80


def test_programs_read_what_would_fit_beside_what_does_not() -> None:
    fitting, refused = as_data(compiled())["buckets"]

    assert fitting["fits"]
    assert fitting["would_fit"] is None
    assert not refused["fits"]
    assert 0 < refused["would_fit"]["batch"] < 1024
    assert 0 < refused["would_fit"]["resolution"] < 384
    assert refused["would_fit"]["devices_per_worker"] is None
    assert "v6e-8" in refused["would_fit"]["hosts"]
