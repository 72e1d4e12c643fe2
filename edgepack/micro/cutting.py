"""Cuts single operators out of a .tflite, each a model of its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgepack.tflite.flatbytes import load, pack, unpack

UNCUT = frozenset(
    {
        *("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "CALL"),
        *("IF", "WHILE"),
    }
)
"""Operators that mean something within their model only: they move data, or run other graphs."""


@dataclass(frozen=True)
class Cut:
    """One operator as a model.

    Attributes:
        model: the flatbuffer; constants and variables come along.
        inputs: the tensors of the old model that are its inputs, in order.
        outputs: the same for its outputs.
    """

    model: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Cutter:
    """A model to cut operators out of.

    Args:
        model: the flatbuffer.

    Raises:
        ModelError: if it is broken.
    """

    def __init__(self, model: bytes) -> None:
        self._model = unpack(load(model))
        self._graph = self._model.subgraphs[0]

    def cut(self, index: int) -> Cut:
        """The operator of a number, of the first graph, as a model of its own.

        What it reads becomes an input, unless it is a constant or a variable. A dimension of
        channels that a tensor does not have becomes its first: vectors of biases bear that of
        their weights in old files, which LiteRT refuses, though no kernel looks at it.
        """
        old = self._graph.operators[index]
        inner = [] if old.intermediates is None else [int(i) for i in old.intermediates]
        ends = [int(i) for i in (*old.inputs, *old.outputs, *inner) if i >= 0]
        used = sorted({i for i in ends if i < len(self._graph.tensors)})
        renamed = {before: after for after, before in enumerate(used)}
        new = copy.copy(old)
        new.opcodeIndex = 0
        new.intermediates = [renamed[i] for i in inner if i in renamed] or None
        new.inputs = [renamed.get(int(i), -1) for i in old.inputs]
        new.outputs = [renamed[int(i)] for i in old.outputs]
        given = tuple(dict.fromkeys(int(i) for i in old.inputs if i >= 0 and self._is_given(i)))
        made = tuple(int(i) for i in old.outputs)
        model = schema.ModelT()
        model.version = 3
        model.operatorCodes = [self._model.operatorCodes[old.opcodeIndex]]
        model.buffers = [schema.BufferT()]
        graph = schema.SubGraphT()
        graph.tensors = [self._tensor(i, model.buffers) for i in used]
        graph.inputs = [renamed[i] for i in given]
        graph.outputs = [renamed[i] for i in made]
        graph.operators = [new]
        model.subgraphs = [graph]
        return Cut(pack(model), given, made)

    def _is_given(self, index: int) -> bool:
        tensor = self._graph.tensors[index]
        return self._model.buffers[tensor.buffer].data is None and not tensor.isVariable

    def _tensor(self, index: int, buffers: list[Any]) -> Any:
        tensor = copy.copy(self._graph.tensors[index])
        tensor.name = f"t{index}"
        buffer = self._model.buffers[tensor.buffer]
        tensor.buffer = 0
        if buffer.data is not None:
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        quantization = tensor.quantization
        rank = 0 if tensor.shape is None else len(tensor.shape)
        if quantization is not None and quantization.quantizedDimension >= rank:
            tensor.quantization = copy.copy(quantization)
            tensor.quantization.quantizedDimension = 0
        return tensor
