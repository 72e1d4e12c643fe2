"""Folds batch normalization into the layer before it, with outputs that stay the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.graph import Replacement, copy_layer, rebuild
from edgepack.network.sameness import refuse_change
from edgepack.network.walk import walk

KERNEL_AXES = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), ("kernel", -1)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel", -2)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("pointwise_kernel", -1)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), ("depthwise_kernel", -2)),
}
"""The kernel that takes the factors, and where its output channels are. Those of a depthwise
kernel are its last two dimensions."""


def fold(model: Any, seed: int) -> Any:
    """A new model with the same outputs and fewer layers.

    Args:
        model: a tf_keras model.
        seed: of the samples that outputs are compared on.

    Raises:
        StepError: if the outputs differ.
    """
    pairs = foldable(model)
    normalizations = {id(normalization) for _, normalization in pairs}
    followers = {id(layer): normalization for layer, normalization in pairs}

    def make(layer: Any, name: str) -> Any:
        if id(layer) in normalizations:
            return Replacement(call=_pass_on)
        if id(layer) not in followers:
            return copy_layer(layer, name)
        config = {**layer.get_config(), "name": name, "use_bias": True}
        new = type(layer).from_config(config)
        return Replacement(layer=new, weights=folded(layer, followers[id(layer)]))

    made = rebuild(model, make)
    refuse_change(model, made, seed, "fold")
    return made


def _pass_on(inputs: Any, **_: Any) -> Any:
    return inputs


@dataclass(frozen=True, eq=False)
class _Value:
    """What flows between layers, as far as folding is concerned: who made it."""

    maker: Any


def foldable(model: Any) -> list[tuple[Any, Any]]:
    """Pairs of a layer and the normalization that alone takes what it gives."""
    nest = keras.tensorflow().nest
    readers: Counter[int] = Counter()
    calls: Counter[int] = Counter()
    reads: list[tuple[Any, _Value]] = []

    def apply(layer: Any, outer: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
        values = [x for x in nest.flatten((args, kwargs)) if isinstance(x, _Value)]
        readers.update(id(value.maker) for value in values)
        calls[id(layer)] += 1
        reads.extend((layer, value) for value in values)
        count = len(nest.flatten(layer.get_output_at(0)))
        return [_Value(layer) for _ in range(count)] if count > 1 else _Value(layer)

    outputs = walk(model, [_Value(None) for _ in model.inputs], apply)
    readers.update(id(value.maker) for value in outputs)
    return [
        (value.maker, layer)
        for layer, value in reads
        if _fits(value.maker, layer)
        and readers[id(value.maker)] == calls[id(value.maker)] == calls[id(layer)] == 1
    ]


def _fits(layer: Any, normalization: Any) -> bool:
    if type(normalization).__name__ != "BatchNormalization":
        return False
    last = len(normalization.get_input_shape_at(0)) - 1
    return (
        type(layer).__name__ in KERNEL_AXES
        and getattr(layer.activation, "__name__", "") == "linear"
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and list(normalization.axis) in ([last], [-1])
    )


def folded(layer: Any, normalization: Any) -> list[np.ndarray[Any, Any]]:
    """The layer's weights with the normalization's factors in the kernel and the rest in the bias.

    Jacob et al. 2018, arXiv:1712.05877, equation 14.
    """
    name, axis = KERNEL_AXES[type(layer).__name__]
    deviation = np.sqrt(normalization.moving_variance.numpy() + normalization.epsilon)
    factor = (normalization.gamma.numpy() if normalization.scale else 1.0) / deviation
    shift = normalization.beta.numpy() if normalization.center else 0.0
    bias = layer.bias.numpy() if layer.use_bias else 0.0
    weights = []
    for variable in [w for w in layer.weights if not layer.use_bias or w is not layer.bias]:
        values = variable.numpy()
        if variable is getattr(layer, name):
            values = values * _along(factor, values.shape, axis, name)
        weights.append(values)
    return [*weights, (bias - normalization.moving_mean.numpy()) * factor + shift]


def _along(factor: Any, shape: tuple[int, ...], axis: int, name: str) -> Any:
    if name == "depthwise_kernel":
        return factor.reshape(shape[-2:])
    return factor.reshape((-1,) + (1,) * (-axis - 1))
