"""The only door to .tflite bytes: reading, counting, editing and stripping them."""

from __future__ import annotations

from pathlib import Path

from edgepack.tflite.counting import macs, parameters, weights
from edgepack.tflite.editing import edit_weights
from edgepack.tflite.flatbytes import load, unpack
from edgepack.tflite.stripping import strip
from edgepack.tflite.subgraph import Graph, Operator, Signature, Tensor, graph_of
from edgepack.tflite.weight_layout import is_quantized

__all__ = [
    "Graph",
    "Operator",
    "Signature",
    "Tensor",
    "edit_weights",
    "is_quantized",
    "macs",
    "parameters",
    "read_graph",
    "strip",
    "weights",
]


def read_graph(source: Path | str | bytes) -> Graph:
    """The graph of a .tflite, from a path or from its bytes; constants are not copied.

    Raises:
        ModelError: if the file is missing, empty, cut off, broken, over 2 GB or no .tflite.
    """
    return graph_of(unpack(load(source)))
