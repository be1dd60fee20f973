"""Generates random numbers by hashing: cheap, and identical on every backend, under XLA or not.

The generators of the backends are neither: TensorFlow's Philox gives other numbers under XLA, where
it takes 100 times as long on a CPU, and JAX' threefry takes 10 times as long as hashing. Here a
number depends on its index and on a few integer keys (seed, step, number of earlier draws).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.tensor import Tensor

#: 2**32 over the golden ratio: steps of it fill the range of 32 bits evenly.
_STEP = 0x9E3779B1
#: Shifts and factors of a good hash of 32 bits (github.com/skeeto/hash-prospector).
_ROUNDS = ((16, 0x21F0AAAD), (15, 0xD35A2D97))


def uniform(shape: tuple[int, ...], *keys: Tensor) -> Tensor:
    """Draw uniform random numbers from [0, 1), float32 with 24 random bits.

    Args:
        shape: Of the result.
        keys: Integers that the result depends on, 32 bits of each.
    """
    # By way of int32: not every device casts unsigned integers to float.
    top = ops.cast(ops.right_shift(_words(math.prod(shape), keys), _word(8)), "int32")
    return ops.reshape(ops.cast(top, "float32") * 2.0**-24, shape)


def draws(*keys: Tensor) -> Callable[[tuple[int, ...]], Tensor]:
    """Make a function that draws uniform random numbers of a shape, different at each call.

    Args:
        keys: As for :func:`uniform`; the number of the call is one more.
    """
    calls = itertools.count(1)
    return lambda shape: uniform(shape, *keys, next(calls))


def dropout_mask(rows: int, columns: int, rate: Tensor, *keys: Tensor) -> Tensor:
    """Draw a mask [rows, columns]: False, with probability ``rate``, where dropped.

    Cheaper than uniform numbers: each row has a word, from which one step for each column leads
    to the word of the pair (SplitMix: Steele, Lea and Flood, OOPSLA 2014); that is hashed once and
    compared as an integer. The columns' words are constants: a compiler that fuses all of it would
    hash anything else again for each pair, which would be most of a classifier's step.

    Args:
        rows: Of the result.
        columns: Of the result.
        rate: From 0, which keeps all, to below 1.
        keys: As for :func:`uniform`.
    """
    steps = ops.convert_to_tensor(np.arange(columns, dtype=np.uint32) * np.uint32(_STEP))
    words = ops.expand_dims(_words(rows, keys), 1) + steps
    # The last shift of the hash is left out: it does not change the upper half, which decides.
    hashed = _mixed(words)
    return hashed >= ops.cast(ops.cast(rate, "float32") * 2.0**32, "uint32")


def _words(count: int, keys: tuple[Tensor, ...]) -> Tensor:
    seed = _word(1)
    for key in keys:
        seed = _hashed(seed + ops.cast(key, "uint32"))
    indices = ops.cast(ops.arange(count), "uint32")
    return _hashed(indices * _word(_STEP) + seed)


def _hashed(words: Tensor) -> Tensor:
    """Hash 32 bits to 32 bits, each of which depends on all."""
    mixed = _mixed(words)
    return ops.bitwise_xor(mixed, ops.right_shift(mixed, _word(15)))


def _mixed(words: Tensor) -> Tensor:
    """The hash without its last shift, which only changes the lower bits."""
    for shift, factor in _ROUNDS:
        words = ops.bitwise_xor(words, ops.right_shift(words, _word(shift))) * _word(factor)
    return words


def _word(value: int) -> Tensor:
    return ops.convert_to_tensor(value, "uint32")
