"""Fold batch normalization into the layer before it, so that clustering sees the final weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, Step


@dataclass(frozen=True)
class Fold(Step):
    """As the converter does, but before clusters are made, which factors by channel would undo."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset({"clustered"})
    extras: ClassVar[tuple[str, ...]] = ("build",)

    def apply(self, model: Any, given: Given) -> Any:
        """A model with the same outputs and fewer layers.

        Raises:
            StepError: if the outputs differ.
        """
        from edgepack.network.folding import fold

        return fold(model, given.seed)
