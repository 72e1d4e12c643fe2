"""A .tflite of any size."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.tflite import flatbytes


def graph_of(megabytes: float) -> bytes:
    """A .tflite of one empty graph and a constant of random bytes, which nothing uses."""
    model = schema.ModelT()
    model.version = 3
    empty, constant = schema.BufferT(), schema.BufferT()
    size = int(megabytes * 1_000_000)
    constant.data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    model.buffers = [empty, constant]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    graph.inputs, graph.outputs = np.array([], np.int32), np.array([], np.int32)
    model.subgraphs, model.operatorCodes = [graph], []
    return flatbytes.pack(model)
