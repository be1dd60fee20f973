"""Computes the pixels that each tap of a depthwise kernel multiplies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis, height or width, of a strided convolution.

    Attributes:
        size: Pixels of the input.
        stride: Pixels between outputs.
        out: Outputs.
        before: Zeros padded before the input.
        after: Zeros padded after it.
    """

    size: int
    stride: int
    out: int
    before: int
    after: int

    @classmethod
    def of(cls, size: int, *, kernel: int, stride: int, padding: str) -> Axis:
        """Pad as Keras and TensorFlow do: the odd zero comes last."""
        if padding == "valid":
            return cls(size, stride, (size - kernel) // stride + 1, 0, 0)
        out = -(-size // stride)
        zeros = max((out - 1) * stride + kernel - size, 0)
        return cls(size, stride, out, zeros // 2, zeros - zeros // 2)

    def inside(self, tap: int) -> tuple[slice, slice] | None:
        """Slices of the inputs a tap multiplies and of its outputs; None if it meets zeros only."""
        shift = tap - self.before
        first = max(0, -(shift // self.stride))
        last = min(self.out - 1, (self.size - 1 - shift) // self.stride)
        if first > last:
            return None
        start = first * self.stride + shift
        stop = last * self.stride + shift + 1
        return slice(start, stop, self.stride), slice(first, last + 1)

    def padded(self, tap: int) -> slice:
        """Slice of the padded input that the tap multiplies."""
        return slice(tap, tap + (self.out - 1) * self.stride + 1, self.stride)
