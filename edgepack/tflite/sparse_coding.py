"""Stores the constants of a .tflite sparsely or densely; what it computes stays the same."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepack.tflite import flatbytes
from edgepack.tflite.stripping import merge
from edgepack.tflite.subgraph import Graph, graph_of

DENSIFY = schema.BuiltinOperator.DENSIFY
NOTHING = 0
"""The buffer that the schema keeps empty, for tensors that are no constants."""

WIDTHS = (
    (1 << 8, np.uint8, schema.Uint8VectorT, schema.SparseIndexVector.Uint8Vector),
    (1 << 16, np.uint16, schema.Uint16VectorT, schema.SparseIndexVector.Uint16Vector),
    (1 << 31, np.int32, schema.Int32VectorT, schema.SparseIndexVector.Int32Vector),
)
"""For numbers below the first: dtype, vector and its word in schema.fbs."""


def encode(data: bytes, chosen: Collection[int]) -> bytes:
    """A .tflite that keeps only the values that are not zero of some constants.

    An operator DENSIFY stands before what reads such a constant, as TensorFlow's converter puts it;
    XNNPACK takes both together.

    Args:
        data: the flatbuffer.
        chosen: the indices of float constants of the first graph that are stored densely.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    view, graph = graph_of(model), model.subgraphs[0]
    code = _code(model)
    added = [_sparse(model, view, index, code) for index in sorted(set(chosen))]
    graph.operators = [*added, *graph.operators]
    return merge(flatbytes.pack(model))


def decode(data: bytes) -> bytes:
    """The .tflite with every constant of its first graph in full, and no DENSIFY."""
    model = flatbytes.unpack(flatbytes.load(data))
    view, graph = graph_of(model), model.subgraphs[0]
    makers = {o.outputs[0]: o.inputs[0] for o in view.operators if o.code == "DENSIFY"}
    for made, source in makers.items():
        _fill(model, graph.tensors[made], view.values(view.tensors[source]))
        graph.tensors[source].sparsity, graph.tensors[source].buffer = None, NOTHING
    for index, tensor in enumerate(graph.tensors):
        if tensor.sparsity is not None:
            _fill(model, tensor, view.values(view.tensors[index]))
    taken = {operator.index for operator in view.operators if operator.code == "DENSIFY"}
    graph.operators = [o for i, o in enumerate(graph.operators) if i not in taken]
    return merge(flatbytes.pack(model))


def _fill(model: Any, tensor: Any, values: NDArray[Any]) -> None:
    tensor.sparsity, tensor.buffer = None, _store(model, values)


def _store(model: Any, values: NDArray[Any]) -> int:
    """A new buffer with values."""
    stored = np.ascontiguousarray(values)
    little = stored.astype(stored.dtype.newbyteorder("<"))
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(little.tobytes(), np.uint8)
    return len(model.buffers) - 1


def _code(model: Any) -> int:
    """The index of DENSIFY among the operator codes, added where it is missing."""
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode, code.builtinCode = min(DENSIFY, 127), DENSIFY
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _sparse(model: Any, view: Graph, index: int, code: int) -> Any:
    """Make a constant sparse; returns the operator that makes the old tensor of it."""
    tensors = model.subgraphs[0].tensors
    values = view.values(view.tensors[index])
    stored = deepcopy(tensors[index])
    stored.sparsity = _levels(values)
    stored.buffer = _store(model, values[values != 0])
    tensors[index].buffer = NOTHING
    tensors.append(stored)
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs = np.array([len(tensors) - 1], np.int32)
    operator.outputs = np.array([index], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.DensifyOptions
    operator.builtinOptions = schema.DensifyOptionsT()
    return operator


def _levels(values: NDArray[Any]) -> Any:
    """All dimensions dense but for the last, which lists where its values are."""
    rows = values.reshape(-1, values.shape[-1]) != 0
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.arange(values.ndim, dtype=np.int32)
    sparsity.blockMap = np.array([], np.int32)
    sparsity.dimMetadata = [_dense(size) for size in values.shape[:-1]]
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    ends = np.concatenate([[0], np.cumsum(rows.sum(1))])
    last.arraySegmentsType, last.arraySegments = _vector(ends)
    last.arrayIndicesType, last.arrayIndices = _vector(np.nonzero(rows)[1])
    sparsity.dimMetadata.append(last)
    return sparsity


def _dense(size: int) -> Any:
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = schema.DimensionType.DENSE, int(size)
    return level


def _vector(numbers: NDArray[Any]) -> tuple[int, Any]:
    """The narrowest vector that holds numbers, and its word."""
    most = int(numbers.max(initial=0))
    _, dtype, kind, word = next(row for row in WIDTHS if most < row[0])
    vector = kind()
    vector.values = numbers.astype(dtype)
    return word, vector
