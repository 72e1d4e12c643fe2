"""Conditions under which the Edge TPU computes an operator, as Coral's documentation states them.

A condition takes the graph and the operator, and returns why the operator would stay on the CPU, or
nothing. ``edgetpu_operators.toml`` says which operator has which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import ModelError
from edgepack.tflite.subgraph import Graph, Operator, Tensor
from edgepack.tflite.weight_layout import input_of, output_of

LONGEST_SOFTMAX = 16_000


def no_activation(graph: Graph, operator: Operator) -> str:  # noqa: ARG001
    """No activation function is fused into it."""
    fused = operator.options.get("fused_activation_function", "NONE")
    return "" if fused == "NONE" else f"{fused} is fused into it"


def equal_dilation(graph: Graph, operator: Operator) -> str:  # noqa: ARG001
    """The dilation is the same in both directions."""
    high, wide = (operator.options.get(f"dilation_{side}_factor", 1) for side in "hw")
    return "" if high == wide else f"its dilation is {high} by {wide}, not the same both ways"


def default_format(graph: Graph, operator: Operator) -> str:  # noqa: ARG001
    """The weights are stored plainly."""
    stored = operator.options.get("weights_format", "DEFAULT")
    return "" if stored == "DEFAULT" else f"its weights are stored as {stored}"


def one_scale(graph: Graph, operator: Operator) -> str:
    """The weights have one scale: one for each unit came to TFLite in 2024, after the compiler.

    Source: github.com/tensorflow/tflite-micro/pull/2602, where older kernels computed wrongly.
    """
    weights = input_of(graph, operator, 1)
    if weights is None or len(weights.scale) < 2:
        return ""
    return f"its weights have {len(weights.scale)} scales, one for each unit, not one for all"


def flat_output(graph: Graph, operator: Operator) -> str:
    """The output has one dimension: only the innermost is larger than 1."""
    output = output_of(graph, operator)
    flat = output is None or all(n == 1 for n in output.shape[:-1])
    return "" if output is None or flat else f"its output {_shape(output)} has several rows"


def at_most_16000(graph: Graph, operator: Operator) -> str:
    """The output has at most 16,000 values."""
    output = output_of(graph, operator)
    long = output is not None and output.size > LONGEST_SOFTMAX
    return f"it has more than {LONGEST_SOFTMAX:,} values" if long else ""


def pads_with_zeros(graph: Graph, operator: Operator) -> str:
    """A constant is joined to one other input only, and is all zeros."""
    inputs = [t for i in range(len(operator.inputs)) if (t := input_of(graph, operator, i))]
    constants = [tensor for tensor in inputs if tensor.is_constant]
    if not constants:
        return ""
    if len(inputs) != 2:
        return "it joins a constant with more than one other input"
    return "" if all(_is_zero(graph, t) for t in constants) else "it joins a constant that is not 0"


def reduces_no_batch(graph: Graph, operator: Operator) -> str:
    """The batch is not reduced."""
    return "it reduces the batch" if 0 in _axes(graph, operator, 1) else ""


def reduces_channels_by_four(graph: Graph, operator: Operator) -> str:
    """Channels are reduced in multiples of 4 only."""
    tensor = input_of(graph, operator, 0)
    if tensor is None or len(tensor.shape) < 3 or tensor.shape[-1] % 4 == 0:
        return ""
    reduced = len(tensor.shape) - 1 in _axes(graph, operator, 1)
    return f"it reduces {tensor.shape[-1]} channels, no multiple of 4" if reduced else ""


def axis_is_not_batch(graph: Graph, operator: Operator) -> str:
    """Tensors are not stacked along the batch."""
    output = output_of(graph, operator)
    rank = len(output.shape) if output else 1
    axis = int(operator.options.get("axis", 0))
    return "it stacks along the batch" if rank > 1 and axis % rank == 0 else ""


def pads_no_batch(graph: Graph, operator: Operator) -> str:
    """The batch is not padded."""
    widths = _values(graph, input_of(graph, operator, 1))
    padded = widths is not None and widths.ndim == 2 and len(widths) > 1 and widths[0].any()
    return "it pads the batch" if padded else ""


def splits_no_batch(graph: Graph, operator: Operator) -> str:
    """The batch is not split."""
    return "it splits the batch" if 0 in _axes(graph, operator, 0, data=1) else ""


def slope_by_channel(graph: Graph, operator: Operator) -> str:
    """The slope has one dimension: only the innermost is larger than 1."""
    slope = input_of(graph, operator, 1)
    if slope is None or all(n == 1 for n in slope.shape[:-1]):
        return ""
    return f"its slope {_shape(slope)} is not one for each channel: share the axes 1 and 2"


def strides_of_one(graph: Graph, operator: Operator) -> str:
    """Nothing is left out between the values that it takes."""
    strides = _values(graph, input_of(graph, operator, 3))
    return "" if strides is None or np.all(strides == 1) else "its strides are not all 1"


def plain_masks(graph: Graph, operator: Operator) -> str:  # noqa: ARG001
    """It has neither an ellipsis nor a new axis."""
    masks = ("ellipsis_mask", "new_axis_mask")
    odd = [mask for mask in masks if operator.options.get(mask)]
    return f"its {' and '.join(odd)} is not 0" if odd else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _values(graph: Graph, tensor: Tensor | None) -> NDArray[Any] | None:
    """A constant's values; None where it has none that can be read."""
    if tensor is None or not tensor.is_constant:
        return None
    try:
        return graph.values(tensor)
    except ModelError:
        return None


def _is_zero(graph: Graph, tensor: Tensor) -> bool:
    values = _values(graph, tensor)
    zero = tensor.zero_point[0] if tensor.zero_point else 0
    return values is not None and bool(np.all(values == zero))


def _axes(graph: Graph, operator: Operator, position: int, data: int = 0) -> set[int]:
    """The axes that an input names, counted from the first; none for a tensor of one dimension."""
    axes, tensor = (
        _values(graph, input_of(graph, operator, position)),
        input_of(graph, operator, data),
    )
    if axes is None or tensor is None or len(tensor.shape) < 2:
        return set()
    return {int(axis) % len(tensor.shape) for axis in axes.ravel()}
