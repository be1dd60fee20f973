"""Random numbers by hashing: cheap, and the same on every backend, in a loop on the device or not.

The generators of the backends are neither: TensorFlow's Philox gives other numbers under XLA, where
it takes 100 times as long on a CPU, and JAX' threefry takes 10 times as long as hashing. Here a
number depends on its place and on a few given numbers (seed, step, how many draws came before).
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

#: 2**32 over the golden ratio: steps of it fill the range of 32 bits evenly.
_STEP = 0x9E3779B1
#: Shifts and factors of a good hash of 32 bits (github.com/skeeto/hash-prospector).
_ROUNDS = ((16, 0x21F0AAAD), (15, 0xD35A2D97))


def uniform(shape: tuple[int, ...], *numbers: Any) -> Any:
    """Uniform random numbers from [0, 1), float32 with 24 random bits.

    Args:
        shape: Of the result.
        numbers: What the result depends on: whole numbers, of which 32 bits count.
    """
    return ops.reshape(_as_share(_words(math.prod(shape), numbers)), shape)


def kept_of_table(rows: int, columns: int, rate: Any, *numbers: Any) -> Any:
    """Which of [rows, columns] stay where a share of ``rate`` is dropped at random: booleans.

    Cheaper than uniform numbers: each row and each column has a word, the product of a pair is
    hashed once, and compared as it is. Most of a classifier's step would go into it otherwise.

    Args:
        rows: Of the result.
        columns: Of the result.
        rate: From 0, which keeps all, to below 1.
        numbers: As for :func:`uniform`.
    """
    words = ops.bitwise_or(_words(rows + columns, numbers), _word(1))
    products = ops.expand_dims(words[:rows], 1) * words[rows:]
    (shift, factor), *_ = _ROUNDS
    hashed = ops.bitwise_xor(products, ops.right_shift(products, _word(shift))) * _word(factor)
    return hashed >= ops.cast(ops.cast(rate, "float32") * 2.0**32, "uint32")


def _words(count: int, numbers: tuple[Any, ...]) -> Any:
    key = _word(1)
    for number in numbers:
        key = _scrambled(key + ops.cast(number, "uint32"))
    places = ops.cast(ops.arange(count), "uint32")
    return _scrambled(places * _word(_STEP) + key)


def _scrambled(words: Any) -> Any:
    """A hash of 32 bits to 32 bits, each a mix of all."""
    for shift, factor in _ROUNDS:
        words = ops.bitwise_xor(words, ops.right_shift(words, _word(shift))) * _word(factor)
    return ops.bitwise_xor(words, ops.right_shift(words, _word(15)))


def _as_share(words: Any) -> Any:
    # By way of int32: not every device casts unsigned numbers to float.
    top = ops.cast(ops.right_shift(words, _word(8)), "int32")
    return ops.cast(top, "float32") * 2.0**-24


def _word(number: int) -> Any:
    return ops.convert_to_tensor(number, "uint32")
