"""Where the operators of a .tflite have their weights, and what these and activations are like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgepack.tflite.subgraph import Graph, Operator, Tensor

UNWRAPPED = frozenset({"DEQUANTIZE", "DENSIFY"})
"""Operators that turn a stored constant into the one that is computed with."""
MAX_WRAPPERS = 4

LOOKUPS = frozenset({"GATHER", "EMBEDDING_LOOKUP"})

ELEMENTWISE = frozenset({"ADD", "SUB", "MUL", "DIV", "PRELU"})
"""Their constants, such as those of a normalization left unfolded, are parameters, not weights."""

REAL = frozenset({"float16", "float32", "int4", "int8", "int16", "uint8"})
"""The dtypes that weights may have; a GATHER of integers is no embedding."""


@dataclass(frozen=True)
class Layout:
    """Where an operator has its trainable constants, as positions among its inputs.

    Attributes:
        weights: what is multiplied with activations.
        axis: the dimension of a weight that counts the output channels.
        others: biases, peepholes, coefficients.
        activations: the position of the input.
    """

    weights: tuple[int, ...]
    axis: int
    others: tuple[int, ...] = ()
    activations: int = 0


LSTM = Layout((*range(1, 9), 16), 0, (*range(9, 16), 17, *range(20, 24)))
BIDIRECTIONAL_LSTM = Layout(
    (*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)),
    0,
    (*range(9, 16), 17, *range(26, 33), 34),
)
RNN = Layout((1, 2), 0, (3,))
EMBEDDING = Layout((1,), 0)

LAYOUTS = {
    "CONV_2D": Layout((1,), 0, (2,)),
    "DEPTHWISE_CONV_2D": Layout((1,), 3, (2,)),
    "CONV_3D": Layout((1,), 4, (2,)),
    "TRANSPOSE_CONV": Layout((1,), 0, (3,), activations=2),
    "CONV_3D_TRANSPOSE": Layout((1,), 3, (3,), activations=2),
    "FULLY_CONNECTED": Layout((1,), 0, (2,)),
    "BATCH_MATMUL": Layout((1,), -1),
    "LSTM": LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": BIDIRECTIONAL_LSTM,
    "RNN": RNN,
    "UNIDIRECTIONAL_SEQUENCE_RNN": RNN,
    "BIDIRECTIONAL_SEQUENCE_RNN": Layout((1, 2, 5, 6, 10, 11), 0, (3, 7)),
    "SVDF": Layout((1, 2), 0, (3,)),
    "EMBEDDING_LOOKUP": EMBEDDING,
    "GATHER": Layout((0,), 0, activations=1),
}
"""Of the operators that have weights; positions as in the kernels of TensorFlow Lite."""


def weights_of(graph: Graph) -> Iterator[tuple[Operator, Tensor, int]]:
    """Operators with their weights' constants and channel axes."""
    makers = _makers(graph)
    for operator in graph.operators:
        layout = LAYOUTS.get(operator.code)
        for position in layout.weights if layout else ():
            tensor = _constant(graph, operator, position, makers)
            if tensor and tensor.size and tensor.dtype in REAL and len(tensor.shape) > 1:
                yield operator, tensor, _axis(operator, tensor)


def _axis(operator: Operator, tensor: Tensor) -> int:
    if operator.code == "BATCH_MATMUL":
        return len(tensor.shape) - (2 if operator.options.get("adj_y") else 1)
    return min(LAYOUTS[operator.code].axis, len(tensor.shape) - 1)


def other_parameters(graph: Graph) -> Iterator[Tensor]:
    """Biases, and constants of normalizations and activations that have values of their own."""
    makers = _makers(graph)
    for operator in graph.operators:
        layout = LAYOUTS.get(operator.code)
        elementwise = (0, 1) if operator.code in ELEMENTWISE else ()
        for position in layout.others if layout else elementwise:
            tensor = _constant(graph, operator, position, makers)
            if tensor and (layout or (tensor.size > 1 and tensor.dtype in REAL)):
                yield tensor


def _makers(graph: Graph) -> dict[int, Operator]:
    """The unwrapping operator that makes a tensor, by the tensor's index."""
    return {
        o.outputs[0]: o
        for o in graph.operators
        if o.code in UNWRAPPED and len(o.inputs) == len(o.outputs) == 1
    }


def _constant(
    graph: Graph, operator: Operator, position: int, makers: dict[int, Operator]
) -> Tensor | None:
    tensor = input_of(graph, operator, position)
    for _ in range(MAX_WRAPPERS):
        if tensor is None or tensor.is_constant or tensor.index not in makers:
            break
        tensor = input_of(graph, makers[tensor.index], 0)
    return tensor if tensor is not None and tensor.is_constant else None


def input_of(graph: Graph, operator: Operator, position: int) -> Tensor | None:
    """The tensor at a position among an operator's inputs; None where it is left out."""
    index = operator.inputs[position] if position < len(operator.inputs) else -1
    return graph.tensors[index] if index >= 0 else None


def output_of(graph: Graph, operator: Operator) -> Tensor | None:
    """An operator's first output, if it has one."""
    index = operator.outputs[0] if operator.outputs else -1
    return graph.tensors[index] if index >= 0 else None


def is_quantized(graph: Graph) -> str:
    """How a graph is quantized, read off its tensors.

    Returns:
        ``int8``, ``int16x8`` (activations of 16 bits), ``uint8``, ``dynamic`` (float activations),
        ``float16``, or an empty string for a float graph.
    """
    pairs = [pair for body in (graph, *graph.bodies) for pair in _dtypes(body)]
    for weight, activation, name in (
        ("int", "int16", "int16x8"),
        ("int", "int8", "int8"),
        ("uint8", "uint8", "uint8"),
        ("int", "float32", "dynamic"),
        ("float16", "float", "float16"),
    ):
        if any(w.startswith(weight) and a.startswith(activation) for w, a in pairs):
            return name
    return ""


def _dtypes(graph: Graph) -> Iterator[tuple[str, str]]:
    """The dtypes of weight and activation; of an operator without weights its output's twice."""
    found = False
    for operator, tensor, _ in weights_of(graph):
        position = LAYOUTS[operator.code].activations
        if tensor.scale or tensor.dtype == "float16":
            found = True
            yield tensor.dtype, _input_dtype(graph, operator, position)
    for operator in () if found else graph.operators:
        output = output_of(graph, operator)
        if output and output.scale:
            yield output.dtype, output.dtype


def _input_dtype(graph: Graph, operator: Operator, position: int) -> str:
    if operator.code in LOOKUPS:
        tensor = output_of(graph, operator)
    else:
        tensor = input_of(graph, operator, position)
    return tensor.dtype if tensor else ""
