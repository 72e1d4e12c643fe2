"""Real numbers by name to the numbers that a model stores, in its own order, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.tflite.flatbuffer import Graph, Tensor

Rows = list[list["NDArray[Any]"]]
"""For each invocation its arrays, in the order of the graph's inputs or outputs."""


def store(graph: Graph, samples: Mapping[str, NDArray[Any]], inputs: Sequence[str]) -> Rows:
    """Samples as the inputs store them, one invocation for each.

    Args:
        graph: of the model.
        samples: preprocessed inputs ``[n, ...]`` by name.
        inputs: the names of the inputs, in the graph's order.

    Raises:
        ModelError: if an invocation takes several samples at once.
    """
    from edgepack.tflite import interpreter

    tensors = [graph.tensors[index] for index in graph.inputs]
    for name, tensor in zip(inputs, tensors, strict=True):
        if tensor.size != samples[name][0].size:
            raise ModelError(
                f"input {name} has the shape {list(tensor.shape)}, but a microcontroller is given"
                f" one sample of {list(samples[name].shape[1:])} at a time",
                "convert it with 1 as the first dimension of each input",
            )
    columns = [
        interpreter.quantize(samples[name], detail(tensor))
        for name, tensor in zip(inputs, tensors, strict=True)
    ]
    shapes = [tuple(n if n > 0 else 1 for n in t.shape) for t in tensors]
    return [
        [x.reshape(shape) for x, shape in zip(row, shapes, strict=True)]
        for row in zip(*columns, strict=True)
    ]


def read(graph: Graph, rows: Rows, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What outputs that are stored stand for, ``[n, ...]`` by name.

    Args:
        graph: of the model.
        rows: of each invocation the outputs, in the graph's order.
        outputs: their names, in the same order.
    """
    import numpy as np

    from edgepack.tflite import interpreter

    columns = zip(outputs, graph.outputs, zip(*rows, strict=True), strict=True)
    return {
        name: interpreter.dequantize(
            np.concatenate([np.atleast_1d(x) for x in column]), detail(graph.tensors[index])
        )
        for name, index, column in columns
    }


def detail(tensor: Tensor) -> dict[str, Any]:
    """Type and quantization of a tensor, in the words of the interpreter."""
    scale, zero = (*tensor.scale, 0.0)[0], (*tensor.zero_point, 0)[0]
    return {"dtype": tensor.dtype, "quantization": (scale, zero)}
