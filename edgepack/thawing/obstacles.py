"""Why a .tflite cannot be rebuilt as a trainable model, told before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Iterator

from edgepack.artifact import UNQUANTIZED
from edgepack.table import printable
from edgepack.tflite.signature import ends
from edgepack.tflite.subgraph import Graph, Operator
from edgepack.tflite.weight_layout import is_quantized
from edgepack.thawing import recurrent
from edgepack.thawing.builders import builders
from edgepack.thawing.names import allowed


def obstacles(graph: Graph) -> list[str]:
    """Why a graph cannot be rebuilt, each reason once and in a few words; empty where it can."""
    reasons = [
        *_weights(graph),
        *_operators(graph),
        *_tensors(graph),
        *_ends(graph),
        *_names(graph),
    ]
    return list(dict.fromkeys(reasons))


def named(operator: Operator) -> str:
    """An operator in a message: its code, place and layer."""
    layer = printable(operator.layer or operator.label)
    where = f"op {operator.index}, {layer!r}" if layer else f"op {operator.index}"
    return f"{printable(operator.code)} ({where})"


def _weights(graph: Graph) -> Iterator[str]:
    kind = is_quantized(graph)
    if kind not in UNQUANTIZED:
        yield f"it is quantized already ({kind})"


def _operators(graph: Graph) -> Iterator[str]:
    first: dict[str, Operator] = {}
    for operator in graph.operators:
        if operator.code not in builders() or _is_quantizing(graph, operator):
            first.setdefault(operator.code, operator)
    yield from map(named, first.values())
    if graph.bodies and not first:
        yield "it has several signatures"


def _is_quantizing(graph: Graph, operator: Operator) -> bool:
    """Whether it reads quantized numbers; of 16-bit floats it only unpacks."""
    reads = [graph.tensors[i] for i in operator.inputs[:1] if i >= 0]
    return operator.code == "DEQUANTIZE" and any(t.dtype != "float16" for t in reads)


def _tensors(graph: Graph) -> Iterator[str]:
    for tensor in graph.tensors:
        name = printable(tensor.name) or str(tensor.index)
        if tensor.is_variable and tensor.index not in states(graph):
            yield f"the variable {name!r}, which keeps values between runs"
        if tensor.dtype in ("resource", "variant", "string", "complex64", "complex128"):
            yield f"tensor {name!r} of the type {tensor.dtype}"


def states(graph: Graph) -> set[int]:
    """The variables in which recurrent operators that can be rebuilt keep their states."""
    cells = [o for o in graph.operators if o.code in recurrent.table()]
    return {i for o in cells for i in o.inputs[recurrent.STATES[0] : recurrent.STATES[-1] + 1]}


def _ends(graph: Graph) -> Iterator[str]:
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        name = printable(tensor.name) or str(index)
        if not tensor.shape:
            yield f"{name!r} has no batch: it is a single number"
        elif index in graph.inputs and abs(tensor.shape[0]) != 1 and 0 not in tensor.open_at:
            yield f"the batch of {name!r} is fixed to {tensor.shape[0]}"
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if any(place > 0 for place in tensor.open_at):
            yield f"input {printable(tensor.name)!r} leaves more open than the batch"


def _names(graph: Graph) -> Iterator[str]:
    """One of several ends must keep its name, or samples would no longer find it."""
    named = [list(ends(graph)[which]) for which in ("inputs", "outputs")]
    for name in (n for names in named if len(names) > 1 for n in names if n != allowed(n)):
        yield f"Keras takes no input or output named {name!r}"
    inputs, outputs = ({allowed(name) for name in names} for names in named)
    yield from (
        f"an input and an output are both named {name!r}" for name in sorted(inputs & outputs)
    )
