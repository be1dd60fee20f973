"""The pixels that each tap of a kernel multiplies."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from effv2_tune.network.conv_geometry import Axis


@given(
    size=st.integers(1, 12),
    stride=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_an_axis_pairs_the_same_pixels_with_and_without_the_zeros(
    size: int, stride: int, kernel: int, padding: str
) -> None:
    assume(padding == "same" or size >= kernel)  # without a border the kernel must fit
    axis = Axis.of(size, kernel=kernel, stride=stride, padding=padding)
    padded: list[Any] = [None] * axis.before + list(range(size)) + [None] * axis.after
    for tap in range(kernel):
        met = padded[axis.padded(tap)]
        pairs = [(pixel, out) for out, pixel in enumerate(met) if pixel is not None]
        inside = axis.inside(tap)
        expected = (
            []
            if inside is None
            else list(zip(range(size)[inside[0]], range(axis.out)[inside[1]], strict=True))
        )
        assert pairs == expected
        assert len(met) == axis.out
