"""Judges a .tflite that a build starts from: its inputs and outputs, and whether it runs here."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from edgepack.errors import ModelError

if TYPE_CHECKING:
    from edgepack.tflite.signature import Slots
    from edgepack.tflite.subgraph import Graph, Tensor

LONGEST_REASON = 160
"""Characters of a runtime's words, which repeat themselves for each tensor."""
NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
"""Types of which there can be samples."""
BATCH = "give it a first dimension of 1, which is the batch"
MOST_VALUES = 1 << 25
"""Of one input or output; an image of 4K in colour has fewer."""


def check_ends(graph: Graph) -> None:
    """Refuse inputs and outputs that no sample fits.

    Raises:
        ModelError: if there are none, or one is no tensor of numbers, empty or too large.
    """
    for word, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if not indices:
            raise ModelError(f"the model has no {word}", "edgepack inspect shows what it has")
        for number, index in enumerate(indices):
            _check_end(f"{word} {number}", graph.tensors[index])
            if word == "input" and not graph.tensors[index].shape:
                raise ModelError(f"input {number} of the model is a single number", BATCH)


def slots(model: bytes) -> dict[str, Slots]:
    """Name, shape and dtype of each of the ``inputs`` and ``outputs``."""
    from edgepack.tflite import signature

    return signature.slots(model)


def refusal(model: bytes) -> str:
    """Why this machine's runtime cannot run it, tried in a process of its own; empty if it can."""
    import numpy as np

    from edgepack.micro import host
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(model)
    tensors = [graph.tensors[i] for i in graph.inputs]
    zeros = [np.zeros([max(1, n) for n in t.shape], t.dtype) for t in tensors]
    try:
        host.run(model, [zeros], runtime="litert-xnnpack")
    except ModelError as error:
        return textwrap.shorten(error.message, LONGEST_REASON, placeholder=" ...")
    return ""


def _check_end(which: str, tensor: Tensor) -> None:
    if not NUMBERS.fullmatch(tensor.dtype):
        hint = "convert it with numbers as inputs and outputs"
        raise ModelError(f"{which} of the model is of the type {tensor.dtype}", hint)
    if not 0 < tensor.size <= MOST_VALUES:
        raise ModelError(
            f"{which} of the model has {tensor.size:,} values: its shape is {list(tensor.shape)}",
            f"convert it with a fixed shape of at most {MOST_VALUES:,} values",
        )
