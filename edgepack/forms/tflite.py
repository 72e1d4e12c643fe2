"""Finished ``.tflite`` files: taken as they are, for steps that need no training."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.tflite.signature import Slots

SUFFIXES = (".tflite",)
LONGEST_REASON = 160
"""Characters of a runtime's words, which repeat themselves for each tensor."""
gives = "tflite"


def matches(path: Path) -> bool:
    """Whether a file is named as a flatbuffer of TFLite."""
    return path.suffix.lower() in SUFFIXES


def check(path: Path) -> None:
    """Refuse a broken file at once.

    Raises:
        ModelError: if it is no .tflite, is cut off, or points outside of itself.
    """
    from edgepack.tflite import flatbuffer

    flatbuffer.read_graph(path)


def read(path: Path, *_: object) -> bytes:
    """The file's bytes; nothing in it is code, so there is nothing to allow.

    Raises:
        ModelError: as `check` does.
    """
    check(path)
    return path.read_bytes()


def slots(model: bytes) -> dict[str, Slots]:
    """Name, shape and dtype of each of the ``inputs`` and ``outputs``."""
    from edgepack.tflite import signature

    return signature.slots(model)


def refusal(model: bytes) -> str:
    """Why this machine's runtime cannot run it, tried in a process of its own; empty if it can."""
    import numpy as np

    from edgepack.errors import ModelError
    from edgepack.micro import host
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(model)
    zeros = [np.zeros(graph.tensors[i].shape, graph.tensors[i].dtype) for i in graph.inputs]
    try:
        host.run(model, [zeros], runtime="litert-xnnpack")
    except ModelError as error:
        return textwrap.shorten(error.message, LONGEST_REASON, placeholder=" ...")
    return ""
