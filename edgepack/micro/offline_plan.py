"""Reads how vela lays out the arena of TensorFlow Lite Micro: the plan inside a compiled model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepack.artifact import ETHOSU_OPERATOR
from edgepack.errors import ModelError
from edgepack.micro.memory_plan import rounded, size_of

if TYPE_CHECKING:
    from edgepack.tflite.subgraph import Graph, Operator, Tensor

METADATA = b"OfflineMemoryAllocation"

HEADER = 3
"""Numbers before the offsets: version, graph, count."""
AT_RUN_TIME = -1
"""In place of an offset: the runtime finds a place for the tensor itself."""
ADDRESS_BYTES = (8, 4)
"""Of the two tables that the ethos-u kernel keeps for each of its tensors: address and size."""
HINT = "compile the model again with vela"


@dataclass(frozen=True)
class OfflinePlan:
    """What the arena must hold, besides the runtime's own records and the CPU kernels' scratch.

    Attributes:
        planned_bytes: the end of the last tensor that has a place in the plan.
        unplanned_bytes: tensors that the runtime must place, as if none shared its place.
        kernel_bytes: tables of addresses that the ethos-u kernel asks for.
        variable_bytes: tensors that keep their values between runs; they lie outside the plan.
        constant_bytes: commands, weights and other constants, which stay in the model's array.
        fast_bytes: memory that the driver needs besides, for the Ethos-U alone; 0 where none.
    """

    planned_bytes: int
    unplanned_bytes: int
    kernel_bytes: int
    variable_bytes: int
    constant_bytes: int
    fast_bytes: int

    @property
    def arena_bytes(self) -> int:
        """All of it that must lie in the arena."""
        parts = (self.planned_bytes, self.unplanned_bytes, self.kernel_bytes, self.variable_bytes)
        return sum(parts)


def planned_arena(model: bytes) -> int:
    """Bytes of the arena that the tensors of a compiled model take, with the kernel's tables.

    The runtime's own records come on top, which depend on its version: see `OfflinePlan`.

    Raises:
        ModelError: if the file is broken or its plan does not fit it.
    """
    return read_plan(model).arena_bytes


def read_plan(model: bytes) -> OfflinePlan:
    """The memory plan of a .tflite that vela compiled; without a plan all is left to the runtime.

    The format is described in "Offline planned tensor allocations" of TensorFlow Lite Micro's
    docs/memory_management.md; what the runtime makes of it stands in micro_allocation_info.cc,
    and what the kernel asks for in kernels/ethos_u/ethosu.cc (github.com/tensorflow/tflite-micro).

    Args:
        model: the flatbuffer.

    Raises:
        ModelError: if the file is broken or its plan does not fit it.
    """
    from edgepack.tflite.flatbytes import load, unpack
    from edgepack.tflite.subgraph import graph_of

    unpacked = unpack(load(model))
    main = graph_of(unpacked)
    graphs = (main, *main.bodies)
    count = sum(len(graph.tensors) for graph in graphs)
    return _plan(graphs, _offsets(unpacked, count) or [AT_RUN_TIME] * count)


def _plan(graphs: tuple[Graph, ...], offsets: list[int]) -> OfflinePlan:
    tensors = [t for graph in graphs for t in graph.tensors]
    operators = [o for graph in graphs for o in graph.operators]
    places = [(_bytes(t), at) for t, at in zip(tensors, offsets, strict=True) if _is_placed(t)]
    return OfflinePlan(
        planned_bytes=max((at + size for size, at in places if at >= 0), default=0),
        unplanned_bytes=sum(size for size, at in places if at < 0),
        kernel_bytes=max(map(_kernel_bytes, operators), default=0),
        variable_bytes=sum(_bytes(t) for t in tensors if t.is_variable),
        constant_bytes=sum(t.size_bytes for t in tensors if t.is_constant),
        fast_bytes=max((size for graph in graphs for size in _fast(graph)), default=0),
    )


def _offsets(model: Any, count: int) -> list[int]:
    """The offset of each tensor; none where the file holds no plan."""
    import numpy as np

    found = [m for m in model.metadata or () if m.name == METADATA]
    data = model.buffers[found[-1].buffer].data if found else None
    if data is None:
        return []
    if len(data) % 4 or len(data) < 4 * HEADER:
        raise ModelError(f"the memory plan of the model has {len(data)} bytes", HINT)
    numbers = [int(number) for number in np.frombuffer(data.tobytes(), "<i4")]
    told, offsets = numbers[HEADER - 1], numbers[HEADER:]
    if told != count or len(offsets) < count:
        raise ModelError(
            f"the memory plan is for {told} tensors, but the model has {count}:"
            " TensorFlow Lite Micro refuses it",
            HINT,
        )
    if min(offsets[:count], default=0) < AT_RUN_TIME:
        raise ModelError(f"the memory plan has the offset {min(offsets[:count])}", HINT)
    return offsets[:count]


def _is_placed(tensor: Tensor) -> bool:
    return not (tensor.is_constant or tensor.is_variable)


def _bytes(tensor: Tensor) -> int:
    """What a tensor's values take in the arena."""
    return rounded(size_of(tensor))


def _kernel_bytes(operator: Operator) -> int:
    if operator.code != ETHOSU_OPERATOR:
        return 0
    tensors = len(operator.inputs) + len(operator.outputs)
    return sum(rounded(tensors * width) for width in ADDRESS_BYTES)


def _fast(graph: Graph) -> Iterator[int]:
    """Sizes of the fast scratch memory, an operator's input 3, where that is memory of its own."""
    for operator in graph.operators:
        if operator.code == ETHOSU_OPERATOR and len(operator.inputs) > 3:
            scratch, fast = operator.inputs[2:4]
            if fast != scratch:
                yield _bytes(graph.tensors[fast])
