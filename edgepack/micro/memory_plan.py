"""Where TensorFlow Lite Micro lays tensors in the arena, and when each of them lives.

Follows ``micro_allocation_info.cc`` (lifetimes) and ``greedy_memory_planner.cc`` (places) of
TensorFlow Lite Micro: each operator is one moment, the largest buffers are placed first, each in
the lowest gap that is free for as long as it lives. Tests compare the height of the plan with
what TensorFlow Lite Micro records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.tflite.subgraph import Graph, Operator, Tensor

ALIGNMENT = 16
"""Bytes to which every buffer is rounded up: MicroArenaBufferAlignment()."""
UNUSED = -1
BITS = {"int4": 4, "bool": 8, "resource": 32, "variant": 0, "string": 0}
"""Widths that the name of a type does not tell."""
BODIES = {
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "CALL_ONCE": ("init_subgraph_index",),
}
"""The options of an operator that name the graphs it runs."""


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena that takes turns with others.

    Attributes:
        graph: number of the graph in the file.
        tensor: its index there; -1 for scratch memory.
        operator: index of the operator that asks for scratch memory; -1 for a tensor.
        size_bytes: rounded up to `ALIGNMENT`.
        first: the moment at which it is written first; 0 for inputs.
        last: the moment at which it is read last.
        offset: in the arena; -1 as long as it has no place.
    """

    graph: int
    tensor: int
    operator: int
    size_bytes: int
    first: int = UNUSED
    last: int = UNUSED
    offset: int = -1


@dataclass(frozen=True)
class Plan:
    """The part of the arena that tensors share.

    Attributes:
        buffers: with their places.
        moments: the operator that runs at each moment, as (graph, operator); (0, -1) at the start.
    """

    buffers: tuple[Buffer, ...]
    moments: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        """The height of the plan."""
        return max((b.offset + b.size_bytes for b in self.buffers), default=0)

    def alive(self, moment: int) -> tuple[Buffer, ...]:
        """The buffers that hold something at a moment."""
        return tuple(b for b in self.buffers if b.first <= moment <= b.last)


Scratch = Mapping[tuple[int, int], Sequence[int]]
"""Bytes of scratch memory that kernels ask for, by (graph, operator)."""


def plan(graph: Graph, scratch: Scratch) -> Plan:
    """Lay out the tensors of a graph, of the bodies that it calls, and scratch memory.

    A plan that the file brings along, as vela's does, is not looked at.
    """
    times = _Times((graph, *graph.bodies), scratch)
    times.visit(0)
    return Plan(tuple(_placed(times.buffers())), tuple(times.moments))


class _Times:
    """Walks operators in the order of execution and notes when each tensor lives."""

    def __init__(self, graphs: Sequence[Graph], scratch: Scratch) -> None:
        self.graphs = graphs
        self.scratch = scratch
        self.moments: list[tuple[int, int]] = [(0, -1)]
        self.spans: dict[tuple[int, int], tuple[int, int]] = {}
        self.scratch_spans: dict[tuple[int, int], tuple[int, int]] = {}

    def visit(self, which: int) -> None:
        graph = self.graphs[which]
        for index in (*graph.inputs, *graph.outputs):
            self._create(which, index)
        for operator in graph.operators:
            self._operator(which, operator)
        for index in graph.outputs:
            self._use(which, index)

    def _operator(self, which: int, operator: Operator) -> None:
        place = (which, operator.index)
        self.moments.append(place)
        start = len(self.moments) - 1
        for index in operator.outputs:
            self._create(which, index)
        for body in bodies(operator, len(self.graphs)):
            self.moments.append(place)
            self.visit(body)
        for index in (*operator.inputs, *operator.outputs):
            self._use(which, index)
        self.scratch_spans[place] = (start, len(self.moments) - 1)

    def _create(self, which: int, index: int) -> None:
        now = len(self.moments) - 1
        self.spans[which, index] = (now, now)

    def _use(self, which: int, index: int) -> None:
        first, _ = self.spans.get((which, index), (UNUSED, UNUSED))
        self.spans[which, index] = (first, len(self.moments) - 1)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers, in the order in which they are handed to the planner."""
        for which, graph in enumerate(self.graphs):
            for tensor in graph.tensors:
                if needs_place(tensor):
                    span = self.spans.get((which, tensor.index), (UNUSED, UNUSED))
                    yield Buffer(which, tensor.index, -1, rounded(size_of(tensor)), *span)
        for (which, index), sizes in self.scratch.items():
            span = self.scratch_spans.get((which, index), (UNUSED, UNUSED))
            yield from (Buffer(which, -1, index, rounded(size), *span) for size in sizes)


def bodies(operator: Operator, count: int) -> list[int]:
    """The numbers of the graphs that an operator runs; one that does not exist is left out."""
    numbers = [operator.options.get(key, 0) for key in BODIES.get(operator.code, ())]
    return [n for n in numbers if isinstance(n, int) and 0 < n < count]


def needs_place(tensor: Tensor) -> bool:
    """Whether a tensor takes turns in the arena: no constant, no variable, not empty."""
    return not tensor.is_constant and not tensor.is_variable and size_of(tensor) > 0


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's values; what is open until run time counts 1."""
    digits = "".join(c for c in tensor.dtype if c.isdigit())
    bits = BITS.get(tensor.dtype, int(digits or 8))
    return (tensor.size * bits + 7) // 8


def rounded(size: int) -> int:
    """Bytes rounded up to `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _placed(buffers: Iterator[Buffer]) -> list[Buffer]:
    """Give each buffer its place; of two with the same size the later one comes first."""
    placed: list[tuple[int, Buffer]] = []
    by_size = sorted(enumerate(buffers), key=lambda pair: (-pair[1].size_bytes, -pair[0]))
    for number, buffer in by_size:
        here = replace(buffer, offset=_lowest_gap(buffer, [b for _, b in placed]))
        placed.append((number, here))
    return [buffer for _, buffer in sorted(placed, key=lambda pair: pair[0])]


def _lowest_gap(wanted: Buffer, placed: Sequence[Buffer]) -> int:
    meanwhile = [b for b in placed if b.first <= wanted.last and wanted.first <= b.last]
    offset = 0
    for other in sorted(meanwhile, key=lambda b: b.offset):
        if other.offset - offset >= wanted.size_bytes:
            break
        offset = max(offset, other.offset + other.size_bytes)
    return offset
