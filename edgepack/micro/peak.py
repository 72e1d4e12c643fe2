"""Splits the arena by tensor and time: which operator needs most, and what is held there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgepack.micro.memory_plan import Buffer, Plan, plan
from edgepack.micro.scratch import wanted
from edgepack.tflite.subgraph import Graph

MAIN = 0


@dataclass(frozen=True)
class Held:
    """Something that lies in memory while an operator runs.

    Attributes:
        what: such as ``output of CONV_2D 3`` or ``scratch memory``.
        layer: that it comes from; empty where names are stripped.
        tensor: index of the tensor; -1 for scratch memory.
        size_bytes: rounded up as in the arena.
    """

    what: str
    layer: str
    tensor: int
    size_bytes: int


@dataclass(frozen=True)
class Moment:
    """What one operator needs.

    Attributes:
        operator: its index.
        code: its kind.
        layer: that it comes from; empty where names are stripped.
        size_bytes: of all that is held meanwhile.
    """

    operator: int
    code: str
    layer: str
    size_bytes: int


@dataclass(frozen=True)
class Peak:
    """The part of the arena that changes over time, and the part that stays.

    Attributes:
        at: the operator that needs most, the first of them.
        held: what lies in memory there, the largest first.
        moments: every operator in the order of execution.
        plan_bytes: the height of the plan; more than the peak where gaps are left.
        persistent: bytes that stay, by what they are for, on this machine.
    """

    at: Moment
    held: tuple[Held, ...]
    moments: tuple[Moment, ...]
    plan_bytes: int
    persistent: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)


def split(
    graph: Graph,
    persistent: Mapping[str, int],
    *,
    kernels: str = "reference",
    features: Collection[str] = (),
) -> Peak:
    """Split the arena of a model by tensor and time.

    Args:
        graph: of the model; operators of graphs that it calls count as part of the caller.
        persistent: ``by_kind`` of `edgepack.micro.allocations.Allocations`.
        kernels: library of the target, for its scratch memory.
        features: of the target's core.
    """
    laid = plan(graph, wanted(graph, kernels, features).scratch)
    highest = dict.fromkeys(range(len(graph.operators)), 0)
    times = dict.fromkeys(range(len(graph.operators)), 0)
    caller = -1
    for time, (which, index) in enumerate(laid.moments):
        caller = index if which == MAIN else caller
        size = sum(buffer.size_bytes for buffer in laid.alive(time))
        if caller >= 0 and size > highest[caller]:
            highest[caller], times[caller] = size, time
    moments = tuple(
        Moment(o.index, o.code, o.layer, highest[o.index]) for o in graph.operators
    ) or (Moment(-1, "", "", 0),)
    at = max(moments, key=lambda m: m.size_bytes)
    held = _held(graph, laid, times.get(at.operator, 0))
    return Peak(at, held, moments, laid.size_bytes, dict(persistent))


def _held(graph: Graph, laid: Plan, time: int) -> tuple[Held, ...]:
    found = [_named(graph, buffer) for buffer in laid.alive(time)]
    return tuple(sorted(found, key=lambda held: -held.size_bytes))


def _named(graph: Graph, buffer: Buffer) -> Held:
    own = graph if buffer.graph == MAIN else graph.bodies[buffer.graph - 1]
    place = "" if buffer.graph == MAIN else f" of graph {buffer.graph}"
    if buffer.tensor < 0:
        operator = own.operators[buffer.operator]
        what = f"scratch memory of {operator.code} {operator.index}{place}"
        return Held(what, operator.layer, -1, buffer.size_bytes)
    for operator in own.operators:
        if buffer.tensor in operator.outputs:
            what = f"output of {operator.code} {operator.index}{place}"
            return Held(what, operator.layer, buffer.tensor, buffer.size_bytes)
    number = own.inputs.index(buffer.tensor) if buffer.tensor in own.inputs else -1
    what = f"input {number}{place}" if number >= 0 else f"unused tensor {buffer.tensor}{place}"
    return Held(what, own.tensors[buffer.tensor].name, buffer.tensor, buffer.size_bytes)
