"""What takes most memory in a model, by layer: weights in flash, activations in RAM."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.micro.memory_plan import size_of
from edgepack.table import printable

if TYPE_CHECKING:
    from edgepack.tflite.flatbuffer import Graph, Operator

SHOWN = 5
"""How many of them are told."""


@dataclass(frozen=True)
class Consumer:
    """A layer, or an operator where names are stripped, and what it takes."""

    name: str
    bytes: int


def weights(graph: Graph) -> tuple[Consumer, ...]:
    """The layers with the largest constants, largest first; what two share counts at the first."""
    found: Counter[str] = Counter()
    for part in (graph, *graph.bodies):
        counted: set[int] = set()
        for operator in part.operators:
            own = {i for i in operator.inputs if i >= 0 and part.tensors[i].is_constant} - counted
            found[_name(operator)] += sum(part.tensors[i].size_bytes for i in own)
            counted |= own
    return _most(found)


def activations(graph: Graph) -> tuple[Consumer, ...]:
    """The operators whose inputs and outputs take most at a time, largest first."""
    found: Counter[str] = Counter()
    for part in (graph, *graph.bodies):
        for operator in part.operators:
            ends = {i for i in (*operator.inputs, *operator.outputs) if i >= 0}
            computed = (part.tensors[i] for i in ends if not part.tensors[i].is_constant)
            taken = sum(map(size_of, computed))
            found[_name(operator)] = max(found[_name(operator)], taken)
    return _most(found)


def _name(operator: Operator) -> str:
    return printable(operator.layer) or f"{printable(operator.code)} {operator.index}"


def _most(found: Counter[str]) -> tuple[Consumer, ...]:
    return tuple(Consumer(name, size) for name, size in found.most_common(SHOWN) if size)
