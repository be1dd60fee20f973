"""Which pixels a tap of a depthwise kernel multiplies: the shapes behind faster gradients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis, height or width, of a strided convolution.

    Attributes:
        size: Pixels of the input.
        stride: Pixels between outputs.
        out: Outputs.
        before: Zeros put before the input.
        after: Zeros put after it.
    """

    size: int
    stride: int
    out: int
    before: int
    after: int

    @classmethod
    def of(cls, size: int, *, kernel: int, stride: int, padding: str) -> Axis:
        """As Keras, and TensorFlow, pad: the odd zero comes last."""
        if padding == "valid":
            return cls(size, stride, (size - kernel) // stride + 1, 0, 0)
        out = -(-size // stride)
        zeros = max((out - 1) * stride + kernel - size, 0)
        return cls(size, stride, out, zeros // 2, zeros - zeros // 2)

    def inside(self, tap: int) -> tuple[slice, slice] | None:
        """Inputs that the tap multiplies and outputs it adds to; None if it meets zeros only."""
        shift = tap - self.before
        first = max(0, -(shift // self.stride))
        last = min(self.out - 1, (self.size - 1 - shift) // self.stride)
        if first > last:
            return None
        start = first * self.stride + shift
        stop = last * self.stride + shift + 1
        return slice(start, stop, self.stride), slice(first, last + 1)

    def padded(self, tap: int) -> slice:
        """What the tap multiplies of the input with its zeros around."""
        return slice(tap, tap + (self.out - 1) * self.stride + 1, self.stride)
