"""Binarize: each weight becomes a sign times one number of its channel, while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgepack.training.low_bit_step import LowBitStep

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel
    from edgepack.training.reparametrization import Parametrization


@dataclass(frozen=True)
class Binarize(LowBitStep):
    """Binary weights (Rastegari et al. 2016, arXiv:1603.05279, section 3.1); activations stay."""

    adds: ClassVar[frozenset[str]] = frozenset({"binary"})
    breaks: ClassVar[frozenset[str]] = frozenset({"sparse", "clustered", "shared"})

    def parametrization(self, kernel: Kernel) -> Parametrization:
        """Signs times the mean magnitude of the channel."""
        from edgepack.training.low_bits import binary

        return binary(kernel)
