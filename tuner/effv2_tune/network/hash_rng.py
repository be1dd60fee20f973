"""Random numbers by hashing: cheap, and the same on every backend, in a loop on the device or not.

The generators of the backends are neither: TensorFlow's Philox gives other numbers under XLA, where
it takes 100 times as long on a CPU, and JAX' threefry takes 10 times as long as hashing. Here a
number depends on its place and on a few given numbers (seed, step, how many draws came before).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
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

    Cheaper than uniform numbers: each row has a word, from which one step for each column leads
    to a word of the pair (SplitMix: Steele, Lea and Flood, OOPSLA 2014); that is hashed once, and
    compared as it is. The columns' words are constants, for a compiler that fuses all of it would
    hash anything else anew for each pair. Most of a classifier's step would go into it otherwise.

    Args:
        rows: Of the result.
        columns: Of the result.
        rate: From 0, which keeps all, to below 1.
        numbers: As for :func:`uniform`.
    """
    steps = ops.convert_to_tensor(np.arange(columns, dtype=np.uint32) * np.uint32(_STEP))
    words = ops.expand_dims(_words(rows, numbers), 1) + steps
    # Not scrambled to the end: the last shift leaves the upper half as it is, which decides.
    hashed = _mixed(words)
    return hashed >= ops.cast(ops.cast(rate, "float32") * 2.0**32, "uint32")


def _words(count: int, numbers: tuple[Any, ...]) -> Any:
    key = _word(1)
    for number in numbers:
        key = _scrambled(key + ops.cast(number, "uint32"))
    places = ops.cast(ops.arange(count), "uint32")
    return _scrambled(places * _word(_STEP) + key)


def _scrambled(words: Any) -> Any:
    """A hash of 32 bits to 32 bits, each a mix of all."""
    mixed = _mixed(words)
    return ops.bitwise_xor(mixed, ops.right_shift(mixed, _word(15)))


def _mixed(words: Any) -> Any:
    """The same but for its last shift, which mixes into the lower bits alone."""
    for shift, factor in _ROUNDS:
        words = ops.bitwise_xor(words, ops.right_shift(words, _word(shift))) * _word(factor)
    return words


def _as_share(words: Any) -> Any:
    # By way of int32: not every device casts unsigned numbers to float.
    top = ops.cast(ops.right_shift(words, _word(8)), "int32")
    return ops.cast(top, "float32") * 2.0**-24


def _word(number: int) -> Any:
    return ops.convert_to_tensor(number, "uint32")
