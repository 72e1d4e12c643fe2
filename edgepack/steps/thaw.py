"""Thaw: rebuild a float .tflite as a Keras model that can be trained, pruned and clustered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, Step


@dataclass(frozen=True)
class Thaw(Step):
    """Operators become layers and constants their weights; the outputs are compared with LiteRT."""

    takes: ClassVar[frozenset[str]] = frozenset({"tflite"})
    gives: ClassVar[str] = "keras"
    extras: ClassVar[tuple[str, ...]] = ("build",)

    def apply(self, model: bytes, given: Given) -> Any:
        """The model, with an open batch and the names of the source.

        Raises:
            StepError: if an operator cannot be rebuilt, or an output differs; it is named.
        """
        from edgepack.thawing.thaw import thaw

        return thaw(model, given.seed, given.remark, given.record)
