"""Unblock: rewrite what keeps XNNPACK from sparse kernels where that can be done exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, Step


@dataclass(frozen=True)
class Unblock(Step):
    """Paddings of strided convolutions are written out, for images that are mirrored if need be.

    What XNNPACK's channels-first kernels want: Elsen et al. 2020, arXiv:1911.09723, and
    ``xnn_check_nchw_compatibility``.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    extras: ClassVar[tuple[str, ...]] = ("build",)

    def apply(self, model: Any, given: Given) -> Any:
        """A model with the same outputs.

        Raises:
            StepError: if nothing that blocks can be rewritten, or the outputs differ.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.surgery.unblocking import unblock

        made, remarks = unblock(rebuild(model, copy_layer), given.seed)
        for remark in remarks:
            given.remark(remark)
        return made
