"""The counts of a bucket agree with its network."""

from __future__ import annotations

from effv2_tune import catalog


def test_the_widest_layer_is_the_first_at_full_width() -> None:
    b0 = catalog.find_variant("b0")

    # 112 x 112 pixels, and a fused block that widens 16 channels to 64 halves them first.
    assert catalog.count_widest_activation(b0, 224) == 112 * 112 * 32
