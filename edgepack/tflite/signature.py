"""Gives a flatbuffer's inputs and outputs the names that they have in the Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgepack.tflite import flatbytes

KEY = "serving_default"
"""What TensorFlow calls the signature of a model that has one."""


def sign(data: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Name inputs and outputs, in the order that they have in the flatbuffer.

    Args:
        data: a flatbuffer.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = KEY
    signature.subgraphIndex = 0
    signature.inputs = _maps(inputs, graph.inputs)
    signature.outputs = _maps(outputs, graph.outputs)
    for named in (*signature.inputs, *signature.outputs):
        graph.tensors[named.tensorIndex].name = named.name
    model.signatureDefs = [signature]
    return flatbytes.pack(model)


def _maps(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    made = []
    for name, index in zip(names, tensors, strict=True):
        tensor = schema.TensorMapT()
        tensor.name, tensor.tensorIndex = name, int(index)
        made.append(tensor)
    return made
