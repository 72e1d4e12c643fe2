"""How a convolution steps over an image: where it begins, what it reads beyond the borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """One dimension of a convolution.

    Attributes:
        size: of the image.
        kernel: positions that the kernel covers.
        stride: from one output to the next.
        before: zeros before the image.
        outputs: number of outputs.
    """

    size: int
    kernel: int
    stride: int
    before: int
    outputs: int

    @property
    def after(self) -> int:
        """Zeros that are read after the image; below 0 where the last of the image is not read."""
        return (self.outputs - 1) * self.stride + self.kernel - self.size - self.before

    @property
    def mirrored(self) -> Steps:
        """The same on the mirrored image."""
        return Steps(self.size, self.kernel, self.stride, self.after, self.outputs)

    @property
    def even(self) -> bool:
        """Whether it is a padding of half the kernel on both sides, maybe not read to its end."""
        half = self.kernel // 2
        fitting = (self.size + 2 * half - self.kernel) // self.stride + 1
        return self.before == half and self.outputs == fitting

    @property
    def merged(self) -> bool:
        """Whether ``same`` says it, so that TensorFlow's converter writes no padding out."""
        return self.before == self.after == self.kernel // 2


def steps(
    size: int, kernel: int, stride: int, *, same: bool, border: Sequence[int] = (0, 0)
) -> Steps:
    """One dimension as Keras computes it.

    Args:
        size: of the image, without the border.
        kernel: positions that the kernel covers.
        stride: from one output to the next.
        same: whether the padding is ``same`` rather than ``valid``.
        border: zeros that a layer before puts around the image.
    """
    if same:
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + kernel - size, 0)
        return Steps(size, kernel, stride, total // 2, outputs)
    outputs = (size + sum(border) - kernel) // stride + 1
    return Steps(size, kernel, stride, border[0], outputs)
