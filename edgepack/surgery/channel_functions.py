"""What TensorFlow's functions, where they stand for layers, do to channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepack.surgery.channel_rules import BY_VALUE, joined, reshape, tied
from edgepack.surgery.channels import Call, Flow, Rule, UnclearError, channels_at

UNARY = BY_VALUE | {
    *("abs", "cast", "ceil", "clip_by_value", "cos", "exp", "expm1", "floor", "identity", "log"),
    *("log1p", "log_sigmoid", "neg", "negative", "ones_like", "reciprocal", "round", "rsqrt"),
    *("sign", "sin", "sqrt", "square", "stop_gradient", "zeros_like"),
}
"""Functions of one value; what else they are given are single numbers."""

BINARY = frozenset(
    {
        *("add", "divide", "div", "maximum", "minimum", "mul", "multiply", "pow", "radd", "rmul"),
        *("rsub", "rtruediv", "squared_difference", "sub", "subtract", "truediv", "bias_add"),
    }
)
"""Functions of two values."""

REDUCTIONS = frozenset({"reduce_max", "reduce_mean", "reduce_min", "reduce_sum"})

RESIZING = frozenset(
    {"resize", "resize_bilinear", "resize_nearest_neighbor", "avg_pool", "max_pool", "max_pool2d"}
)
"""Functions that look at each channel by itself, the last axis being channels."""


def function_rule(layer: Any) -> Rule | None:
    """The rule for a layer that calls one of TensorFlow's functions; None where none is known."""
    if type(layer).__name__ != "TFOpLambda":
        return None
    word = str(layer.symbol).rsplit(".", 1)[-1]
    tables = ((UNARY, unary), (BINARY, binary), (REDUCTIONS, reduced), (RESIZING, resized))
    return next((rule for words, rule in tables if word in words), OTHERS.get(word))


def argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    """An argument of a function, however it was given."""
    return call.args[position] if len(call.args) > position else call.kwargs.get(name, default)


def unary(call: Call) -> Flow:
    """Each value by itself."""
    others = [*call.args[1:], *call.kwargs.values()]
    if any(np.size(x) > 1 for x in others if not isinstance(x, str)):
        raise UnclearError
    return call.flow


def binary(call: Call) -> Flow:
    """Values in pairs: of two tensors, or of a tensor and a constant."""
    rank = len(call.shape)
    if len(call.flows) == 2:
        return tied(call, [_widened(flow, rank) for flow in call.flows])
    flow = _widened(call.flow, rank)
    if len(flow.shape) != rank or tied(call, [flow]).shape != flow.shape:
        raise UnclearError
    given: dict[int | str, Any] = dict(enumerate(call.args))
    given.update(call.kwargs)
    for key, value in given.items():
        if not isinstance(value, Flow | str | None):
            _constant(call, flow, key, np.shape(value))
    return flow


def _widened(flow: Flow, rank: int) -> Flow:
    """With as many axes as the result has: new ones of size 1 in front."""
    missing = rank - len(flow.shape)
    numbers = flow.numbers.reshape((1,) * missing + flow.numbers.shape)
    return Flow((1,) * missing + tuple(flow.shape), numbers)


def _constant(call: Call, flow: Flow, key: int | str, shape: tuple[int, ...]) -> None:
    """A constant may have a value for each channel."""
    if flow.axis is None:
        return
    axis = flow.axis - len(flow.shape) + len(shape)
    if axis >= 0 and shape[axis] > 1:
        call.hold("constant", key, axis, flow.along(flow.axis))


def reduced(call: Call) -> Flow:
    """Over all axes but those of the batch and the channels."""
    flow, axes = call.flow, argument(call, 1, "axis")
    rank = len(flow.shape)
    chosen = {int(i) % rank for i in np.ravel(axes)} if axes is not None else set(range(rank))
    if flow.axis in chosen or (flow.axis is None and rank - 1 in chosen and not flow.is_fixed):
        raise UnclearError
    numbers = flow.numbers
    if not argument(call, 2, "keepdims", False):
        numbers = np.squeeze(numbers, tuple(chosen))
    return Flow(call.shape, numbers)


def resized(call: Call) -> Flow:
    """Each channel by itself."""
    return channels_at(call.shape, -1, call.flow.along(-1))


def padded(call: Call) -> Flow:
    """More rows and columns, but no more channels."""
    flow = call.flow
    if flow.axis is None or flow.shape[flow.axis] != call.shape[flow.axis]:
        raise UnclearError
    return Flow(call.shape, flow.numbers)


def concatenated(call: Call) -> Flow:
    """One after the other, if none is a constant."""
    if len(argument(call, 0, "values")) != len(call.flows):
        raise UnclearError
    return joined(call, call.flows, int(argument(call, 1, "axis")))


def reshaped(call: Call) -> Flow:
    """The same values in another shape, which is an argument."""
    made = reshape(call.flow, call.shape)
    if made.axis is not None:
        _sized(call, made, argument(call, 1, "shape"))
    return made


def _sized(call: Call, made: Flow, shape: Any) -> None:
    assert made.axis is not None
    if not isinstance(shape, list | tuple) or isinstance(shape[made.axis], Flow):
        raise UnclearError
    if shape[made.axis] != -1:
        key: int | str = 1 if len(call.args) > 1 else "shape"
        call.hold("size", key, made.axis, made.along(made.axis))


def refitted(call: Call) -> Flow:
    """Axes of one value come or go."""
    return reshape(call.flow, call.shape)


def transposed(call: Call) -> Flow:
    """The axes in another order; the batch stays the first."""
    order = argument(call, 1, "perm")
    if order is None or int(order[0]) != 0:
        raise UnclearError
    return Flow(call.shape, call.flow.numbers.transpose([int(i) for i in order]))


OTHERS: dict[str, Rule] = {
    "concat": concatenated,
    "expand_dims": refitted,
    "mirror_pad": padded,
    "pad": padded,
    "reshape": reshaped,
    "squeeze": refitted,
    "transpose": transposed,
}
