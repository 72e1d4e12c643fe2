"""Tells which layers of a float .tflite a board's runtime would compute sparsely, and why not.

The rules are those of ``xnn_subgraph_rewrite_for_nchw`` in XNNPACK: what hangs together between a
first convolution and a global average pooling is computed sparsely as a whole, or not at all.
Release builds print nothing about it, so it is told here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgepack.target import Target
from edgepack.tflite.channels_first import CLOSING, INNER, OPENING, Node, nodes
from edgepack.tflite.counting import macs, title
from edgepack.tflite.subgraph import Graph

SPARSE_SINCE = {"ai-edge-litert": (2, 3)}
"""Runtimes that were seen to compute sparsely on Arm; tflite-runtime 2.14 never does."""

ENOUGH = 2 / 3
"""More zeros than this, over all 1x1 convolutions together, make XNNPACK switch. Its newest source
counts dense layers, too; LiteRT 2.3.0 was seen to switch where that would forbid it."""

ENCODED = 0.3
"""With fewer zeros the converter keeps a weight dense."""

WORTH = 0.9
"""An estimate above this share of the dense time is no gain."""

DENSE_MAC, DEPTHWISE_MAC, SPARSE_MAC = 1.0, 4.0, 2.0
"""What a multiply-accumulate costs: in a dense convolution, in a depthwise one, and with a weight
that is not zero in a sparse one. Fitted to ``benchmarks/results/sparse_speed.json``."""

OWN_KERNEL = "by the runtime's own kernel for dense layers, outside XNNPACK"


@dataclass(frozen=True)
class Layer:
    """A layer whose zeros could be skipped.

    Attributes:
        name: of the layer, or of its operator where names are stripped.
        operator: its code, such as ``CONV_2D``.
        index: of the operator.
        macs: multiply-accumulates for one sample.
        zeros: the fraction of its weights that are zero.
        sparse: whether the runtime would skip them.
        reason: why it would not; where it would, by what other than XNNPACK.
    """

    name: str
    operator: str
    index: int
    macs: int
    zeros: float
    sparse: bool
    reason: str = ""


@dataclass(frozen=True)
class Obstacle:
    """What keeps XNNPACK from computing sparsely.

    Attributes:
        layer: whose operator blocks; empty where something is missing.
        operator: its code.
        index: of the operator; -1 where something is missing.
        rule: of XNNPACK, that it breaks.
        edit: what would free it; empty where nothing is known to.
    """

    layer: str
    operator: str
    index: int
    rule: str
    edit: str = ""

    def __str__(self) -> str:
        place = f"{self.layer} ({self.operator}): " if self.operator else ""
        return f"{place}{self.rule}"


@dataclass(frozen=True)
class Forecast:
    """What a runtime would compute sparsely.

    Attributes:
        layers: those whose zeros could be skipped, in their order.
        obstacles: in the graph.
        runtime: why the runtime never would; empty where it can.
        ratio: estimated time with sparse over dense encoding; 1.0 where no convolution is sparse.
    """

    layers: tuple[Layer, ...]
    obstacles: tuple[Obstacle, ...]
    runtime: str
    ratio: float

    @property
    def sparse(self) -> tuple[str, ...]:
        """The names of the layers that would be computed sparsely."""
        return tuple(layer.name for layer in self.layers if layer.sparse)

    @property
    def faster(self) -> bool:
        """Whether XNNPACK would compute convolutions sparsely, and that is worth it."""
        return self.ratio < WORTH

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why convolutions stay dense; none where they do not."""
        known = (self.runtime,) if self.runtime else tuple(map(str, self.obstacles))
        return () if any(x.sparse and not x.reason for x in self.layers) else known


@dataclass
class _Part:
    """What hangs together before and after one operator that can end it."""

    members: dict[int, Node] = field(default_factory=dict)
    obstacles: dict[int, Obstacle] = field(default_factory=dict)


def forecast(graph: Graph, target: Target) -> Forecast:
    """Judge a graph, whether its weights are already encoded sparsely or not.

    Args:
        graph: of a .tflite.
        target: the board; its architecture and runtime decide about convolutions.
    """
    found = nodes(graph)
    parts = _parts(graph, found)
    runtime = _runtime_reason(target)
    chosen = {i for part in parts if not part.obstacles for i in part.members}
    obstacles = {i: o for part in parts for i, o in part.obstacles.items()}
    if not parts:
        obstacles[-1] = Obstacle("", "", -1, *NO_END)
    costs = macs(graph)
    layers = tuple(
        _layer(graph, node, costs[node.operator.index], runtime, chosen)
        for node in found
        if _is_pointwise(node) or node.operator.code == "FULLY_CONNECTED"
    )
    if not any(layer.operator == "CONV_2D" for layer in layers):
        obstacles = {-1: Obstacle("", "", -1, *NO_POINTWISE)}
    told = tuple(obstacles[i] for i in sorted(obstacles))
    return Forecast(layers, told, runtime, _ratio(graph, costs, layers))


NO_END = (
    "the model has no global average pooling",
    "end in GlobalAveragePooling2D in place of Flatten",
)
NO_POINTWISE = ("there is no 1x1 convolution of stride 1", "")
NO_BEGINNING = (
    "the model does not begin with a 3x3 convolution of stride 2 on 3 channels",
    "begin with Conv2D(filters, 3, strides=2) on an image of 3 channels",
)


def _runtime_reason(target: Target) -> str:
    since = SPARSE_SINCE.get(target.runtime_package)
    version = tuple(int(part) for part in target.runtime_version.split(".")[:2] if part.isdigit())
    if target.architecture in ("x86_64", "i686", "AMD64"):
        return f"XNNPACK uses no sparse kernels for {target.architecture} with AVX"
    if target.architecture not in ("aarch64", "armv7l"):
        return f"XNNPACK has no sparse kernels for {target.architecture}"
    if since is None or version < since:
        return f"{target.runtime_package} {target.runtime_version} never computes sparsely"
    return ""


def _parts(graph: Graph, found: Sequence[Node]) -> list[_Part]:
    """For each operator that can end a part: what belongs to that, and what is against it."""
    ends = [node for node in found if CLOSING in node.roles]
    parts: list[_Part] = []
    for end in ends:
        if not any(end.operator.index in part.members for part in parts):
            parts.append(_grow(graph, found, end))
    return parts


def _grow(graph: Graph, found: Sequence[Node], end: Node) -> _Part:
    """All that is connected with an operator by values that must be channels-first."""
    makers = {tensor: node for node in found for tensor in node.operator.outputs}
    readers: dict[int, list[Node]] = defaultdict(list)
    for node in found:
        for tensor in node.reads:
            readers[tensor].append(node)
    part, waiting = _Part(), [end]
    while waiting:
        node = waiting.pop()
        if node.operator.index in part.members or node.operator.index in part.obstacles:
            continue
        if not node.roles:
            part.obstacles[node.operator.index] = _obstacle(node, node.rule)
        else:
            part.members[node.operator.index] = node
            waiting += (r for t in node.operator.outputs for r in readers[t] if _joins(r))
        if OPENING not in node.roles:
            waiting += (makers[tensor] for tensor in node.reads if tensor in makers)
    _look_for_leaks(graph, part, readers, set(makers))
    _count_zeros(graph, part)
    return part


def _joins(reader: Node) -> bool:
    return bool(reader.roles & {INNER, CLOSING})


def _obstacle(node: Node, rule: str) -> Obstacle:
    operator = node.operator
    return Obstacle(title(operator), operator.code, operator.index, rule, node.edit)


def _look_for_leaks(
    graph: Graph, part: _Part, readers: dict[int, list[Node]], made: set[int]
) -> None:
    """Note values of a part that others read, or that come from outside."""
    inside = [(n, t) for n in part.members.values() if OPENING not in n.roles for t in n.reads]
    for node, tensor in inside:
        for reader in readers[tensor]:
            if not _joins(reader):
                rule = f"it reads what {title(node.operator)} reads channels-first: {reader.rule}"
                part.obstacles.setdefault(reader.operator.index, _obstacle(reader, rule))
        if tensor in graph.outputs:
            rule = "what it reads is an output of the model, too"
            part.obstacles.setdefault(node.operator.index, _obstacle(node, rule))
    if not part.obstacles and any(tensor not in made for _, tensor in inside):
        part.obstacles[-1] = Obstacle("", "", -1, *NO_BEGINNING)


def _count_zeros(graph: Graph, part: _Part) -> None:
    """Note where a part has too few zeros."""
    counted = [(n, n.weight.size) for n in part.members.values() if _is_pointwise(n) and n.weight]
    total = sum(size for _, size in counted)
    zeros = sum(_zeros(graph, node) * size for node, size in counted)
    if part.obstacles or not total or zeros > ENOUGH * total:
        return
    rule = f"{zeros / total:.0%} of the weights of 1x1 convolutions are zero, not more than"
    edit = "prune more: --set prune.sparsity=0.85"
    part.obstacles[-1] = Obstacle("", "", -1, f"{rule} two thirds", edit)


def _is_pointwise(node: Node) -> bool:
    return node.operator.code == "CONV_2D" and INNER in node.roles


def _zeros(graph: Graph, node: Node) -> float:
    return float(np.mean(graph.values(node.weight) == 0)) if node.weight else 0.0


def _layer(graph: Graph, node: Node, cost: int, runtime: str, chosen: set[int]) -> Layer:
    operator, zeros = node.operator, _zeros(graph, node)
    head = (title(operator), operator.code, operator.index, cost, zeros)
    if zeros <= ENCODED:
        few = f"{zeros:.0%} zeros, too few to be encoded sparsely"
        return Layer(*head, sparse=False, reason=few)
    if operator.code == "FULLY_CONNECTED":
        return Layer(*head, sparse=True, reason=OWN_KERNEL)
    sparse = not runtime and operator.index in chosen
    reason = "" if sparse else runtime or "another operator blocks"
    return Layer(*head, sparse=sparse, reason=reason)


def _ratio(graph: Graph, costs: Sequence[int], layers: Sequence[Layer]) -> float:
    """The time with sparse over that with dense encoding, by counting products."""
    skipped = {x.index: 1 - x.zeros for x in layers if x.sparse and not x.reason}
    dense = math.fsum(_cost(graph, costs))
    saved = math.fsum(costs[i] * (DENSE_MAC - SPARSE_MAC * left) for i, left in skipped.items())
    return 1 - saved / dense if dense else 1.0


def _cost(graph: Graph, costs: Sequence[int]) -> Iterator[float]:
    for operator, count in zip(graph.operators, costs, strict=True):
        yield count * (DEPTHWISE_MAC if operator.code == "DEPTHWISE_CONV_2D" else DENSE_MAC)
