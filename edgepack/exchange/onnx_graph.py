"""Makes an ONNX graph ready for its converter: fixed shapes, plain names, a known layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgepack.exchange.onnx_file import graphs, inputs_of, nodes

SPATIAL = frozenset(
    {
        *("Conv", "ConvTranspose", "DeformConv", "MaxPool", "AveragePool", "LpPool"),
        *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "MaxRoiPool", "RoiAlign"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN"),
        *("DepthToSpace", "SpaceToDepth", "GridSample", "Resize", "Upsample"),
    }
)
"""Operators that ONNX defines with the channels in dimension 1."""
MOVING = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Gather"})
"""Operators after which dimension 1 may be another."""
RANKS = (3, 4, 5)


@dataclass(frozen=True)
class Names:
    """The names of a graph before they were made plain, by the plain ones.

    Attributes:
        inputs: of the inputs, in their order.
        outputs: of the outputs, in their order.
        nodes: a node's name and operator, in the graph's order.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: Mapping[str, str]


def fix_shapes(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give the inputs their shapes; what followed from the old ones is forgotten."""
    for value in model.graph.input:
        for dimension, size in zip(
            value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False
        ):
            dimension.Clear()
            dimension.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def name_plainly(model: Any) -> Names:
    """Rename inputs, outputs, tensors and nodes, so that no character means anything to anybody."""
    graph = model.graph
    plain: dict[str, str] = {}
    for word, known in (
        ("input", list(inputs_of(model))),
        ("output", [o.name for o in graph.output]),
    ):
        for name in known:
            plain.setdefault(name, f"{word}_{len(plain)}")
    for name in _tensor_names(graph):
        plain.setdefault(name, f"tensor_{len(plain)}")
    plain[""] = ""
    called = {f"node_{i}": described(node) for i, node in enumerate(nodes(graph))}
    for i, node in enumerate(nodes(graph)):
        node.name = f"node_{i}"
    outputs = {plain[value.name]: value.name for value in graph.output}
    inputs = {plain[name]: name for name in inputs_of(model)}
    _rename(graph, plain)
    return Names(inputs, outputs, called)


def described(node: Any) -> str:
    """A node as a message names it."""
    return f"{node.name or (*node.output, '?')[0]!r} ({node.op_type})"


def channels_first(model: Any) -> frozenset[str]:
    """The inputs whose dimension 1 holds channels: they reach an operator that takes it so.

    Args:
        model: its shapes are inferred.
    """
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shapes = inputs_of(model)
    images = [name for name, shape in shapes.items() if len(shape) in RANKS]
    return frozenset(name for name in images if _reaches_spatial(name, readers))


def _reaches_spatial(name: str, readers: Mapping[str, list[Any]]) -> bool:
    seen, waiting = {name}, [name]
    while waiting:
        for node in readers.get(waiting.pop(), []):
            if node.op_type in SPATIAL:
                return True
            new = set() if node.op_type in MOVING else set(node.output) - seen
            seen |= new
            waiting += new
    return False


def _tensor_names(graph: Any) -> Iterator[str]:
    for part in graphs(graph):
        yield from (value.name for value in (*part.input, *part.initializer))
        for node in part.node:
            yield from (*node.input, *node.output)


def _rename(graph: Any, plain: Mapping[str, str]) -> None:
    for part in graphs(graph):
        del part.value_info[:]
        for named in (*part.input, *part.output, *part.initializer):
            named.name = plain.get(named.name, named.name)
        for node in part.node:
            node.input[:] = [plain[name] for name in node.input]
            node.output[:] = [plain[name] for name in node.output]
