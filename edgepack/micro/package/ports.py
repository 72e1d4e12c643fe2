"""What a package has to know of a model's graph: inputs, outputs and memories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgepack.micro.package.contents import Port

if TYPE_CHECKING:
    from edgepack.tflite.flatbuffer import Graph, Tensor

HANDLE = "VAR_HANDLE"


def ports(graph: Graph) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The inputs and the outputs, in the order in which the interpreter numbers them."""
    return _ports(graph, graph.inputs), _ports(graph, graph.outputs)


def _ports(graph: Graph, indices: Iterable[int]) -> tuple[Port, ...]:
    return tuple(_port(graph.tensors[index]) for index in indices)


def _port(tensor: Tensor) -> Port:
    shape = tuple(n if n >= 0 else 1 for n in tensor.shape)
    scale, zero_point = (*tensor.scale[:1], 0.0)[0], (*tensor.zero_point[:1], 0)[0]
    return Port(tensor.name, shape, tensor.dtype, scale, zero_point)


def resource_variables(graph: Graph) -> int:
    """How many resource variables a model has: handles of the same name share one."""
    handles = {
        (operator.options.get("container"), operator.options.get("shared_name"))
        for part in (graph, *graph.bodies)
        for operator in part.operators
        if operator.code == HANDLE
    }
    return len(handles)


def variable_tensors(graph: Graph) -> int:
    """How many tensors keep their values between inferences."""
    return sum(tensor.is_variable for part in (graph, *graph.bodies) for tensor in part.tensors)
