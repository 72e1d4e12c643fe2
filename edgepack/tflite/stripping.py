"""Takes out of a .tflite what nothing needs at run time; what it computes stays the same."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.tflite.flatbytes import load, pack, unpack

NEEDED_METADATA = frozenset({b"reduced_precision_support", b"OfflineMemoryAllocation"})
"""XNNPACK runs in half precision by the one; TensorFlow Lite Micro lays out memory by the other."""


def strip(data: bytes) -> bytes:
    """A .tflite without names, ranges, metadata and repeated constants.

    Names and signatures stay where a model has several inputs, outputs or signatures, because
    they tell those apart. Tensors and operators keep their indices. Constants are aligned to 16
    bytes. The same bytes in give the same bytes out.

    Args:
        data: the flatbuffer.

    Raises:
        ModelError: if the flatbuffer is broken.
    """
    model = unpack(load(data))
    if _is_plain(model):
        model.signatureDefs = None
    model.description = None
    model.metadataBuffer = None
    model.metadata = [m for m in model.metadata or () if m.name in NEEDED_METADATA] or None
    for index, graph in enumerate(model.subgraphs):
        _strip_graph(graph, _named_tensors(model, index))
    _merge_buffers(model)
    return pack(model)


def merge(data: bytes) -> bytes:
    """A .tflite without repeated constants and nothing else changed.

    Args:
        data: the flatbuffer.

    Raises:
        ModelError: if the flatbuffer is broken.
    """
    model = unpack(load(data))
    _merge_buffers(model)
    return pack(model)


def _is_plain(model: Any) -> bool:
    """Whether order alone tells inputs and outputs apart."""
    graph = model.subgraphs[0]
    several = any(x is not None and len(x) > 1 for x in (graph.inputs, graph.outputs))
    return not several and len(model.signatureDefs or ()) <= 1


def _named_tensors(model: Any, index: int) -> set[int]:
    """The tensors of a graph whose names somebody may ask for."""
    called = {s.subgraphIndex for s in model.signatureDefs or ()} | {0}
    if index not in called or _is_plain(model):
        return set()
    graph = model.subgraphs[index]
    return {int(i) for ends in (graph.inputs, graph.outputs) if ends is not None for i in ends}


def _strip_graph(graph: Any, named: set[int]) -> None:
    graph.name = None
    graph.debugMetadataIndex = -1
    for operator in graph.operators:
        operator.debugMetadataIndex = -1
        operator.intermediates = _unless_empty(operator.intermediates)
        operator.mutatingVariableInputs = _unless_empty(operator.mutatingVariableInputs)
    for index, tensor in enumerate(graph.tensors):
        if index not in named:
            tensor.name = None
        if _same(tensor.shape, tensor.shapeSignature):
            tensor.shapeSignature = None
        tensor.quantization = _strip_quantization(tensor.quantization)


def _strip_quantization(quantization: Any) -> Any:
    """Scale and zero point without the range that they came from; None where nothing is left."""
    if quantization is None:
        return None
    quantization.min = quantization.max = None
    quantization.scale = _unless_empty(quantization.scale)
    quantization.zeroPoint = _unless_empty(quantization.zeroPoint)
    kept = (quantization.scale, quantization.zeroPoint, quantization.details)
    return None if all(part is None for part in kept) else quantization


def _unless_empty(vector: Any) -> Any:
    return vector if vector is not None and len(vector) else None


def _same(a: Any, b: Any) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


def _merge_buffers(model: Any) -> None:
    """Keep each constant that is used once; buffer 0 stays empty, as the format asks."""
    kept = [schema.BufferT()]
    places: dict[bytes, int] = {}
    users = [t for graph in model.subgraphs for t in graph.tensors] + (model.metadata or [])
    for user in users:
        buffer = model.buffers[user.buffer]
        if buffer.data is None:
            user.buffer = 0
            continue
        digest = hashlib.sha256(buffer.data).digest()
        if digest not in places:
            places[digest] = len(kept)
            kept.append(buffer)
        user.buffer = places[digest]
    model.buffers = kept
