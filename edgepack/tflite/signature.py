"""The names of a flatbuffer's inputs and outputs: read, or given as in the Keras model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.tflite import flatbytes
from edgepack.tflite.interpreter import made_up
from edgepack.tflite.subgraph import Graph, Tensor, graph_of

KEY = "serving_default"
"""What TensorFlow calls the signature of a model that has one."""


Slots = list[tuple[str, tuple[int | None, ...], str, float, float]]
"""Name, shape with the batch first and open, dtype, and the range of real numbers."""


def ends(graph: Graph) -> dict[str, dict[str, int]]:
    """The tensors of the ``inputs`` and ``outputs`` by name.

    They have the names of the signature, or ``input``, ``output`` where there is none, numbered
    if there are several; their order is the graph's.
    """
    signature = next((s for s in graph.signatures if s.subgraph == 0), None)
    named = (signature.inputs, signature.outputs) if signature else ({}, {})
    return {
        "inputs": _ordered(graph.inputs, named[0], "input"),
        "outputs": _ordered(graph.outputs, named[1], "output"),
    }


def slots(data: bytes) -> dict[str, Slots]:
    """The ``inputs`` and ``outputs`` of a flatbuffer; what is quantized counts as real numbers."""
    graph = graph_of(flatbytes.unpack(flatbytes.load(data)))
    return {
        which: [_slot(name, graph.tensors[index]) for name, index in tensors.items()]
        for which, tensors in ends(graph).items()
    }


def _ordered(tensors: Sequence[int], named: Mapping[str, int], word: str) -> dict[str, int]:
    if sorted(named.values()) == sorted(tensors):
        left = list(named.items())
        return dict(left.pop([i for _, i in left].index(index)) for index in tensors)
    return dict(zip(made_up(word, len(tensors)), tensors, strict=True))


def _slot(name: str, tensor: Tensor) -> tuple[str, tuple[int | None, ...], str, float, float]:
    shape = (None, *(max(1, n) for n in tensor.shape[1:]))
    if not tensor.scale or np.dtype(tensor.dtype).kind not in "iu":
        return name, shape, tensor.dtype, 0.0, 1.0
    kind, zero_point = np.iinfo(tensor.dtype), (*tensor.zero_point, 0)[0]
    low, high = ((end - zero_point) * tensor.scale[0] for end in (kind.min, kind.max))
    return name, shape, "float32", low, high


def sign(data: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Name inputs and outputs, in the order that they have in the flatbuffer.

    Args:
        data: a flatbuffer.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    signature = made(model, inputs, outputs)
    for named in (*signature.inputs, *signature.outputs):
        model.subgraphs[0].tensors[named.tensorIndex].name = named.name
    model.signatureDefs = [signature]
    return flatbytes.pack(model)


def made(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A SignatureDefT for the graph of a ModelT that runs, with names in that graph's order."""
    signature = schema.SignatureDefT()
    signature.signatureKey = KEY
    signature.subgraphIndex = 0
    signature.inputs = _maps(inputs, model.subgraphs[0].inputs)
    signature.outputs = _maps(outputs, model.subgraphs[0].outputs)
    return signature


def arrange(data: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """Put inputs and outputs in another order; the signatures, which know the old one, are dropped.

    Args:
        data: a flatbuffer.
        inputs: the present places of the inputs, in their new order.
        outputs: the same of the outputs; what is left out is no output any more.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    graph = model.subgraphs[0]
    graph.inputs = [int(graph.inputs[place]) for place in inputs]
    graph.outputs = [int(graph.outputs[place]) for place in outputs]
    model.signatureDefs = []
    return flatbytes.pack(model)


def _maps(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    maps = []
    for name, index in zip(names, tensors, strict=True):
        tensor = schema.TensorMapT()
        tensor.name, tensor.tensorIndex = name, int(index)
        maps.append(tensor)
    return maps
