"""What a .tflite graph costs and holds: multiply-accumulates, weights and parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.tflite.subgraph import Graph, Operator, Tensor
from edgepack.tflite.weight_layout import (
    LAYOUTS,
    LOOKUPS,
    input_of,
    other_parameters,
    output_of,
    weights_of,
)
from edgepack.training.properties import Weight

MAX_NESTING = 8

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a weight lies in a .tflite.

    Attributes:
        name: the weight's.
        layer: the same without a number.
        where: 0 for the graph that runs, ``1 + i`` for the body ``i``.
        graph: that graph.
        operator: what computes with it.
        tensor: the stored constant.
        axis: the dimension of the output channels.
    """

    name: str
    layer: str
    where: int
    graph: Graph
    operator: Operator
    tensor: Tensor
    axis: int

    def weight(self) -> Weight:
        """Its values.

        Raises:
            ModelError: if the constant's bytes do not fit its shape.
        """
        return Weight(self.name, _centred(self.graph, self.tensor), self.axis)


RECURRENT = frozenset(code for code in LAYOUTS if "LSTM" in code or "RNN" in code or code == "SVDF")


def macs(graph: Graph) -> tuple[int, ...]:
    """Multiply-accumulates of each operator; an open batch counts 1, other operators count 0.

    A loop counts its body as often as its condition says, where that compares with a constant,
    and once where it does not; a branch counts the dearer of its two graphs.
    """
    rounds = [_rounds(body) for body in graph.bodies]
    costs = [0] * len(graph.bodies)
    for _ in range(MAX_NESTING):
        deeper = [sum(_all_macs(body, rounds, costs)) for body in graph.bodies]
        if deeper == costs:
            break
        costs = deeper
    return tuple(_all_macs(graph, rounds, costs))


def weights(graph: Graph) -> list[Weight]:
    """The trainable constants that are multiplied with activations, each once, as they are stored.

    Those of loops and branches are among them. A weight is called after its layer, and numbered
    where that has several; after its operator where names are stripped. Integers whose zero is not
    0, as old converters wrote them, are moved by it.

    Raises:
        ModelError: if a constant's bytes do not fit its shape.
    """
    return [place.weight() for place in places(graph)]


def places(graph: Graph) -> list[Place]:
    """Where the constants lie that `weights` gives, in its order and under its names."""
    found: list[Place] = []
    titles: Counter[str] = Counter()
    for where, body in enumerate((graph, *graph.bodies)):
        constants = {tensor.index: (o, tensor, axis) for o, tensor, axis in weights_of(body)}
        for operator, tensor, axis in constants.values():
            layer = title(operator, where)
            titles[layer] += 1
            name = layer if titles[layer] == 1 else f"{layer}#{titles[layer]}"
            found.append(Place(name, layer, where, body, operator, tensor, axis))
    return found


def _centred(graph: Graph, tensor: Tensor) -> NDArray[Any]:
    """A constant's values as stored, moved where its integers mean 0 by another number."""
    values = graph.values(tensor)
    return values.astype(np.int64) - tensor.zero_point[0] if any(tensor.zero_point) else values


def parameters(graph: Graph) -> int:
    """The number of values in the trainable constants, biases included."""
    total = 0
    for body in (graph, *graph.bodies):
        tensors = {tensor.index: tensor for _, tensor, _ in weights_of(body)}
        tensors |= {tensor.index: tensor for tensor in other_parameters(body)}
        total += sum(tensor.size for tensor in tensors.values())
    return total


def title(operator: Operator, where: int = 0) -> str:
    """What an operator is called: its layer, or its code and number where names are stripped."""
    place = f"{where}." if where else ""
    return operator.layer or f"{operator.code.lower()}_{place}{operator.index}"


def _all_macs(graph: Graph, rounds: Sequence[int], costs: Sequence[int]) -> Iterator[int]:
    """The cost of each operator, given for each body how often it lets a loop run and its cost."""
    for operator in graph.operators:
        if operator.code == "WHILE":
            yield _called(rounds, operator, "cond") * _called(costs, operator, "body")
        elif operator.code == "IF":
            yield max(_called(costs, operator, branch) for branch in ("then", "else"))
        else:
            yield _macs(graph, operator)


def _called(facts: Sequence[int], operator: Operator, role: str) -> int:
    """The number that belongs to the body that an operator runs in a role."""
    which = operator.options.get(role + "_subgraph_index", 0)
    return facts[which - 1] if 0 < which <= len(facts) else 0


def _rounds(condition: Graph) -> int:
    """The smallest constant that a loop's counter must stay under; 1 where there is none."""
    bounds: list[int] = []
    for operator in condition.operators:
        limit = input_of(condition, operator, 1) if operator.code == "LESS" else None
        if limit and limit.is_constant and limit.size == 1 and limit.dtype in ("int32", "int64"):
            bounds.append(int(condition.values(limit).item()))
    return max(min(bounds, default=1), 0)


def _macs(graph: Graph, operator: Operator) -> int:
    layout = LAYOUTS.get(operator.code)
    if layout is None or operator.code in LOOKUPS:
        return 0
    activations = input_of(graph, operator, layout.activations)
    kernels = [_dims(w) for p in layout.weights if (w := input_of(graph, operator, p))]
    output = output_of(graph, operator)
    if not (activations and activations.shape and output and kernels and all(kernels)):
        return 0
    return _products(operator, _dims(activations), _dims(output), kernels)


def _products(operator: Operator, x: Dims, y: Dims, kernels: list[Dims]) -> int:
    """How often a weight meets an activation, from the shapes of input, output and weights."""
    code, kernel = operator.code, kernels[0]
    if code in RECURRENT:
        return math.prod(x[:-1]) * sum(map(math.prod, kernels))
    if code in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
        return math.prod(x) * math.prod(kernel) // x[-1]
    if code == "BATCH_MATMUL":
        inner = x[-2:][0] if operator.options.get("adj_x") else x[-1]
        return math.prod(y) * inner
    if code == "DEPTHWISE_CONV_2D":
        return math.prod(y) * math.prod(kernel[1:3])
    outputs = kernel[LAYOUTS[code].axis] if len(kernel) > LAYOUTS[code].axis else 1
    return math.prod(y) * math.prod(kernel) // outputs


def _dims(tensor: Tensor) -> Dims:
    return tuple(1 if n < 1 else n for n in tensor.shape)
