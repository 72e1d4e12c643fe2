"""What each kind of layer does to channels: which weights hold them, which must go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepack.surgery.channels import (
    Array,
    Call,
    Flow,
    Rule,
    Shape,
    UnclearError,
    channels_at,
    flow_of,
    weight_at,
)

BY_VALUE = frozenset(
    {
        *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu"),
        *("relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
    }
)
"""Activations that look at one value at a time."""

PASSING = (
    *("ActivityRegularization", "AlphaDropout", "Dropout", "ELU", "GaussianDropout"),
    *("GaussianNoise", "LeakyReLU", "ReLU", "SpatialDropout1D", "SpatialDropout2D"),
    *("SpatialDropout3D", "ThresholdedReLU"),
)
"""Layers that look at one value at a time."""

SPATIAL = tuple(
    f"{word}{n}D"
    for word in ("AveragePooling", "Cropping", "MaxPooling", "UpSampling", "ZeroPadding")
    for n in (1, 2, 3)
)
"""Layers that look at each channel by itself."""

GLOBAL = tuple(f"Global{word}Pooling{n}D" for word in ("Average", "Max") for n in (1, 2, 3))

MERGING = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")


def rule_of(layer: Any) -> Rule | None:
    """The rule for a layer of tf_keras; None where nothing is known of its kind."""
    kind = type(layer)
    own = kind.__module__.split(".")[0] in ("keras", "tf_keras")
    return RULES.get(kind.__name__) if own else None


def activated(call: Call, flow: Flow) -> Flow:
    """What a layer gives after the activation that it holds."""
    activation = getattr(call.layer, "activation", None)
    if activation is not None and getattr(activation, "__name__", "") not in BY_VALUE:
        call.stay(flow.numbers)
    return flow


def _last(call: Call) -> None:
    if getattr(call.layer, "data_format", "channels_last") != "channels_last":
        raise UnclearError


def _kernel(call: Call) -> int:
    return weight_at(call.layer, "kernel")


def _biased(call: Call, numbers: Array) -> Flow:
    """The output of a layer with channels at its end, whose bias has a value for each."""
    if call.layer.use_bias:
        call.use(weight_at(call.layer, "bias"), 0, numbers)
    return activated(call, channels_at(call.shape, -1, numbers))


def dense(call: Call) -> Flow:
    """The last axis becomes new channels."""
    call.use(_kernel(call), 0, call.flow.along(-1))
    made = call.bear(_kernel(call), 1)
    call.count("units", made)
    return _biased(call, made)


def convolution(call: Call) -> Flow:
    """All channels of a group become new ones."""
    _last(call)
    kernel, taken = _kernel(call), call.flow.along(-1)
    rank, groups = call.layer.kernel.shape.rank, call.layer.groups
    if groups > 1:
        return _grouped(call, taken, groups)
    call.use(kernel, rank - 2, taken)
    made = call.bear(kernel, rank - 1)
    call.count("filters", made)
    return _biased(call, made)


def _grouped(call: Call, taken: Array, groups: int) -> Flow:
    """Each group loses the same channels; groups of one channel go with it as a whole."""
    kernel, rank = _kernel(call), call.layer.kernel.shape.rank
    count = int(call.layer.kernel.shape[-1]) // groups
    if len(taken) == groups:
        made = np.repeat(taken, count)
        call.count("groups", taken)
        call.use(kernel, rank - 1, made)
    else:
        rows = taken.reshape(groups, -1)
        call.links.ties.tie(rows, rows[:1])
        call.use(kernel, rank - 2, rows[0])
        made = call.bear(kernel, rank - 1)
        rows = made.reshape(groups, -1)
        call.links.ties.tie(rows, rows[:1])
    call.count("filters", made)
    return _biased(call, made)


def transposed(call: Call) -> Flow:
    """As a convolution, with the two last axes of its kernel exchanged."""
    _last(call)
    rank = call.layer.kernel.shape.rank
    call.use(_kernel(call), rank - 1, call.flow.along(-1))
    made = call.bear(_kernel(call), rank - 2)
    call.count("filters", made)
    return _biased(call, made)


def depthwise(call: Call) -> Flow:
    """Each channel becomes as many as the multiplier says, which live and go with it."""
    _last(call)
    taken = call.flow.along(-1)
    position = weight_at(call.layer, "depthwise_kernel")
    call.use(position, call.layer.depthwise_kernel.shape.rank - 2, taken)
    return _biased(call, np.repeat(taken, call.layer.depth_multiplier))


def separable(call: Call) -> Flow:
    """A depthwise convolution and then one of 1x1."""
    _last(call)
    taken, rank = call.flow.along(-1), call.layer.depthwise_kernel.shape.rank
    pointwise = weight_at(call.layer, "pointwise_kernel")
    call.use(weight_at(call.layer, "depthwise_kernel"), rank - 2, taken)
    call.use(pointwise, rank - 2, np.repeat(taken, call.layer.depth_multiplier))
    made = call.bear(pointwise, rank - 1)
    call.count("filters", made)
    return _biased(call, made)


def embedding(call: Call) -> Flow:
    """Numbers become rows of channels."""
    call.stay(call.flow.numbers)
    made = call.bear(0, 1)
    call.count("output_dim", made)
    return channels_at(call.shape, -1, made)


def normalization(call: Call) -> Flow:
    """A batch normalization has up to four values for each channel."""
    axes = call.layer.axis
    (axis,) = axes if isinstance(axes, list | tuple) else [axes]
    numbers = call.flow.along(axis)
    for position in range(len(call.layer.weights)):
        call.use(position, 0, numbers)
    return call.flow


def prelu(call: Call) -> Flow:
    """A slope for each value, or for each channel."""
    flow, slopes = call.flow, call.layer.alpha.shape
    axis = flow.axis
    if axis and slopes[axis - 1] > 1:
        call.use(0, axis - 1, flow.along(axis))
    return flow


def passed(call: Call) -> Flow:
    """Each value by itself."""
    return activated(call, call.flow)


def spatial(call: Call) -> Flow:
    """Each channel by itself, the last axis being channels before and after."""
    _last(call)
    return channels_at(call.shape, -1, call.flow.along(-1))


def merged(call: Call) -> Flow:
    """Tensors value by value: their channels go together."""
    if len({len(flow.shape) for flow in call.flows}) > 1:
        raise UnclearError
    return tied(call, call.flows)


def tied(call: Call, flows: Sequence[Flow]) -> Flow:
    """The channels of tensors of one rank that meet value by value, maybe broadcast."""
    shape = call.shape
    axes = {flow.axis for flow in flows} - {None}
    if len(axes) > 1:
        raise UnclearError
    axis = axes.pop() if axes else None
    if axis is None:
        met = [flow for flow in flows if flow.shape == shape] or list(flows)
    else:
        met = [flow for flow in flows if flow.shape[axis] == shape[axis]]
    widest = max(met, key=lambda flow: flow.numbers.size)
    for flow in flows:
        if any(flow is other for other in met):
            call.links.ties.tie(flow.numbers, widest.numbers)
        else:
            call.stay(flow.numbers)
    return Flow(shape, widest.numbers)


def concatenated(call: Call) -> Flow:
    """One after the other along an axis."""
    return joined(call, call.flows, call.layer.axis)


def joined(call: Call, flows: Sequence[Flow], axis: int) -> Flow:
    """Tensors one after the other along an axis; along any other their channels go together."""
    shape = call.shape
    axis %= len(shape)
    varied = {flow.axis for flow in flows if not flow.is_fixed} - {None}
    if varied <= {axis}:
        numbers = np.concatenate([flow.along(axis) for flow in flows])
        return channels_at(shape, axis, numbers)
    (other,) = varied if len(varied) == 1 else (None,)
    if other is None:
        raise UnclearError
    rows = [flow.along(other) for flow in flows]
    for row in rows:
        call.links.ties.tie(row, rows[0])
    return channels_at(shape, other, rows[0])


def flattened(call: Call) -> Flow:
    """All values in a row."""
    _last(call)
    return flow_of(call.shape, call.flow.whole().reshape(-1))


def reshaped(call: Call) -> Flow:
    """The same values in another shape, which is a setting."""
    made = reshape(call.flow, call.shape)
    if made.axis is not None:
        call.count("target_shape", made.along(made.axis), made.axis - 1)
    return made


def reshape(flow: Flow, shape: Shape) -> Flow:
    """The channels after the values have got another shape."""
    if flow.is_fixed:
        return Flow(shape, np.zeros((1,) * len(shape), int))
    if None not in (*flow.shape[1:], *shape[1:]):
        return flow_of(shape, flow.whole().reshape([int(n or 1) for n in shape[1:]]))
    if flow.shape[-1] != shape[-1]:
        raise UnclearError
    return channels_at(shape, -1, flow.along(-1))


def permuted(call: Call) -> Flow:
    """The axes in another order."""
    return Flow(call.shape, call.flow.numbers.transpose((0, *call.layer.dims)))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Activation", *PASSING), passed),
    **dict.fromkeys((*SPATIAL, *GLOBAL, "RepeatVector"), spatial),
    **dict.fromkeys(MERGING, merged),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), separable),
    "BatchNormalization": normalization,
    "Concatenate": concatenated,
    "Dense": dense,
    "Embedding": embedding,
    "Flatten": flattened,
    "PReLU": prelu,
    "Permute": permuted,
    "Reshape": reshaped,
}
