"""Ternarize: each weight becomes a sign or zero times one number of its channel, in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgepack.step import setting
from edgepack.training.low_bit_step import LowBitStep

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel
    from edgepack.training.reparametrization import Parametrization


@dataclass(frozen=True)
class Ternarize(LowBitStep):
    """Ternary weights (Li et al. 2016, arXiv:1605.04711); zeros that are there stay."""

    adds: ClassVar[frozenset[str]] = frozenset({"ternary"})
    breaks: ClassVar[frozenset[str]] = frozenset({"clustered", "shared"})
    bits: ClassVar[int] = 2

    scales: str = setting(
        "mean",
        "the number of a channel: mean magnitude of what is not zero, or learnt",
        choices=("mean", "learnt"),
    )

    def parametrization(self, kernel: Kernel) -> Parametrization:
        """Signs of what is over the threshold, times the number of the channel."""
        from edgepack.training.low_bits import learnt_ternary, ternary

        return ternary(kernel) if self.scales == "mean" else learnt_ternary(kernel)
