"""The family as data: its tables agree with what was published."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.catalog import (
    KERAS_WEIGHTS,
    SCRATCH_SCALING,
    TINY,
    VARIANTS,
    WEIGHT_FILES,
    WEIGHT_SETS,
    count_activations,
    count_macs,
    count_moving_statistics,
    count_parameters,
    find_variant,
    find_weight_file,
    weight_sets_of,
)
from effv2_tune.errors import TuneError

# google/automl effnetv2_model_test.py (total at 1000 classes), timm (trainable), and the sums of
# multiplications and activations at the native resolution that timm's result tables give.
PUBLISHED = {
    # name: blocks, residual, without head, total, trainable, total at 21843, GMAC, M activations
    "b0": (21, 15, 5_919_312, 7_200_312, 7_139_704, 33_900_195, 0.718, 4.77),
    "b1": (27, 21, 6_931_124, 8_212_124, 8_141_052, 34_912_007, 1.197, 7.33),
    "b2": (28, 22, 8_769_374, 10_178_374, 10_096_086, 39_546_161, 1.698, 9.84),
    "b3": (32, 26, 12_930_622, 14_467_622, 14_358_406, 46_503_313, 3.011, 15.73),
    "t": (39, 34, 12_743_412, 13_768_412, 13_649_388, 35_132_487, 3.900, 20.26),
    "s": (40, 35, 20_331_360, 21_612_360, 21_458_488, 48_312_243, 8.366, 35.77),
    "m": (57, 51, 53_150_388, 54_431_388, 54_139_356, 81_131_271, 24.58, 89.84),
    "l": (79, 73, 117_746_848, 119_027_848, 118_515_272, 145_727_731, 56.08, 157.99),
    "xl": (100, 94, 207_615_832, 208_896_832, 208_119_808, 235_596_715, 93.35, 247.32),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_and_blocks_are_the_published_ones(name: str) -> None:
    variant = VARIANTS[name]
    blocks, residual, trunk, total, trainable, with_21k, _, _ = PUBLISHED[name]

    assert len(variant.blocks) == blocks
    assert sum(block.has_shortcut for block in variant.blocks) == residual
    assert count_parameters(variant) == trunk
    assert count_parameters(variant, 1000) == total
    assert count_parameters(variant, 1000) - count_moving_statistics(variant) == trainable
    assert count_parameters(variant, 21_843) == with_21k


@pytest.mark.parametrize("name", VARIANTS)
def test_compute_at_the_native_resolution_is_the_published_one(name: str) -> None:
    variant = VARIANTS[name]
    gigamacs, activations = PUBLISHED[name][-2:]

    assert count_macs(variant, variant.native_resolution) / 1e9 == pytest.approx(gigamacs, rel=1e-3)
    found = count_activations(variant, variant.native_resolution) / 1e6
    assert found == pytest.approx(activations, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "resolution", "gigamacs"),
    [
        ("b0", 32, 0.0157),
        ("s", 32, 0.0617),
        ("xl", 32, 0.404),
        ("m", 128, 1.757),
        ("t", 224, 1.912),
    ],
)
def test_compute_at_other_resolutions(name: str, resolution: int, gigamacs: float) -> None:
    found = count_macs(VARIANTS[name], resolution, classes=0) / 1e9

    assert found == pytest.approx(gigamacs, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "width", "depth"), [("b1", 1.0, 1.1), ("b2", 1.1, 1.2), ("b3", 1.2, 1.4)]
)
def test_b1_to_b3_are_b0_scaled_and_rounded_to_eight(name: str, width: float, depth: float) -> None:
    def rounded(channels: int) -> int:
        return max(8, int(channels * width + 4) // 8 * 8)

    base, scaled = VARIANTS["b0"], VARIANTS[name]

    assert scaled.stem_width == rounded(base.stem_width)
    assert scaled.head_width == rounded(base.head_width)
    for before, after in zip(base.stages, scaled.stages, strict=True):
        assert after.width_out == rounded(before.width_out)
        assert after.repeats == math.ceil(before.repeats * depth)


@pytest.mark.parametrize("variant", [*VARIANTS.values(), TINY], ids=lambda v: v.name)
def test_each_block_takes_what_the_one_before_gives(variant: object) -> None:
    width = variant.stem_width  # type: ignore[attr-defined]
    for place, block in enumerate(variant.blocks):  # type: ignore[attr-defined]
        assert block.width_in == width
        assert block.position == place
        width = block.width_out


@given(st.sampled_from(sorted(VARIANTS)), st.integers(32, 600), st.integers(1, 200))
def test_more_pixels_never_cost_less(name: str, resolution: int, more: int) -> None:
    variant = VARIANTS[name]

    assert count_macs(variant, resolution) <= count_macs(variant, resolution + more)


def test_there_are_24_released_files_and_seven_of_keras() -> None:
    released = [key for key in WEIGHT_FILES if key[1] in WEIGHT_SETS]
    keras = [key for key in WEIGHT_FILES if key[1] == KERAS_WEIGHTS]

    assert len(released) == 24
    assert [name for name, _ in keras] == ["b0", "b1", "b2", "b3", "s", "m", "l"]
    assert len({file.md5 for file in WEIGHT_FILES.values()}) == 31
    assert len({file.file_name for file in WEIGHT_FILES.values()}) == 31


def test_the_keras_digests_are_those_of_the_installed_keras() -> None:
    source = pytest.importorskip("keras.src.applications.efficientnet_v2")

    for (name, weights), file in WEIGHT_FILES.items():
        if weights == KERAS_WEIGHTS:
            key = name if name.startswith("b") else f"-{name}"
            assert file.md5 == source.WEIGHTS_HASHES[key][0]
            assert file.url == f"{source.BASE_WEIGHTS_PATH}efficientnetv2-{name}.h5"


def test_scaling_belongs_to_variant_and_weight_set() -> None:
    for name in ("b0", "b1", "b2", "b3"):
        assert find_weight_file(name, "imagenet").scaling == "torch"
        assert find_weight_file(name, "imagenet21k").scaling == "tf"
        assert find_weight_file(name, "imagenet21k-ft1k").scaling == "tf"
    assert find_weight_file("t", "imagenet").scaling == "torch"
    for name in ("s", "m", "l"):
        assert {find_weight_file(name, weights).scaling for weights in WEIGHT_SETS} == {"tf"}
    assert find_weight_file("xl", "imagenet21k").scaling == "tf"
    assert SCRATCH_SCALING == "tf"


def test_what_was_never_released_is_refused_with_what_exists() -> None:
    with pytest.raises(TuneError, match="'imagenet21k' of variant 't' were never released") as info:
        find_weight_file("t", "imagenet21k")
    assert info.value.hint is not None
    assert "For 't' there is imagenet;" in info.value.hint

    with pytest.raises(TuneError, match="'imagenet' of variant 'xl'") as info:
        find_weight_file("xl", "imagenet")
    assert info.value.hint is not None
    assert "imagenet21k, imagenet21k-ft1k" in info.value.hint
    assert weight_sets_of("tiny") == ()


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(TuneError, match="'b00', did you mean 'b0'"):
        find_variant("b00")
    with pytest.raises(TuneError, match="did you mean 'imagenet21k'"):
        find_weight_file("b0", "imagnet21k")


def test_tiny_is_found_but_not_listed() -> None:
    assert find_variant("tiny") is TINY
    assert "tiny" not in VARIANTS
    assert count_parameters(TINY, 10) < 20_000
