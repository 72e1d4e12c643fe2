"""Take names and metadata out of a .tflite, which nothing on a device reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, Step


@dataclass(frozen=True)
class Strip(Step):
    """A smaller file that computes the same; the names of inputs and outputs stay."""

    takes: ClassVar[frozenset[str]] = frozenset({"tflite"})
    gives: ClassVar[str] = "tflite"
    lossless: ClassVar[bool] = True

    def apply(self, model: Any, given: Given) -> bytes:  # noqa: ARG002
        """The flatbuffer without what nothing needs."""
        from edgepack.tflite import flatbuffer

        stripped: bytes = flatbuffer.strip(model)
        return stripped
