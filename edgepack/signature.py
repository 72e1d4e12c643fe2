"""Gives a flatbuffer's inputs and outputs the names that they have in the Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Bytes to which kernels want constant data aligned; the schema asks for it, Python forgets it."""

KEY = "serving_default"


class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that aligns raw bytes as the schema's ``force_align`` says."""

    def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> Any:  # noqa: N802
        """Write an array; raw bytes at multiples of `ALIGNMENT`."""
        if x.dtype != np.uint8:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return self.EndVector()


def sign(data: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Name inputs and outputs, in the order that they have in the flatbuffer.

    Args:
        data: a flatbuffer.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = KEY
    signature.subgraphIndex = 0
    signature.inputs = _maps(inputs, graph.inputs)
    signature.outputs = _maps(outputs, graph.outputs)
    for named in (*signature.inputs, *signature.outputs):
        graph.tensors[named.tensorIndex].name = named.name
    model.signatureDefs = [signature]
    builder = AlignedBuilder(len(data) + 1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _maps(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    made = []
    for name, index in zip(names, tensors, strict=True):
        tensor = schema.TensorMapT()
        tensor.name, tensor.tensorIndex = name, int(index)
        made.append(tensor)
    return made
