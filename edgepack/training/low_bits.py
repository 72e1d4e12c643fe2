"""Weights of one or two bits: which layers get them, and how they are computed while training."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import keras
from edgepack.network.kernels import Kernel, kernels
from edgepack.network.outermost import outermost
from edgepack.training.properties import measure
from edgepack.training.reparametrization import Parametrization
from edgepack.training.signs import packed_bytes

DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")

KINDS = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("SeparableConv1D", "SeparableConv2D", "Dense", *DEPTHWISE),
)
"""Layers that are treated; of a separable one the pointwise kernel."""

CLIP = 1.0
"""Above this magnitude a weight has no gradient (Hubara et al. 2016, arXiv:1602.02830, eq. 4)."""

THRESHOLD = 0.7
"""Of the mean magnitude; what is less becomes zero (Li et al. 2016, arXiv:1605.04711, eq. 6)."""


@dataclass(frozen=True)
class Choice:
    """Which layers are treated.

    Attributes:
        kernels: of the layers that are.
        left: names of others, by the reason why they are not.
    """

    kernels: list[Kernel]
    left: dict[str, list[str]]


def choose(model: Any, layers: str, *, ends: bool, depthwise: bool) -> Choice:
    """The kernels of a model that are to have few bits.

    Args:
        model: a flat tf_keras model.
        layers: a regular expression; what its whole name does not match is left.
        ends: whether the first and the last layers are treated, too.
        depthwise: whether depthwise layers are.
    """
    outer = set() if ends else outermost(model)
    own = {id(layer) for layer in model.layers}
    chosen, left = [], defaultdict(list)
    for kernel in (k for k in kernels(model) if re.fullmatch(layers, k.layer.name)):
        inside = "" if id(kernel.layer) in own else "inside of another layer"
        if reason := inside or _reason(kernel, outer, depthwise):
            left[reason].append(kernel.layer.name)
        else:
            chosen.append(kernel)
    return Choice(chosen, dict(left))


def _reason(kernel: Kernel, outer: Collection[str], depthwise: bool) -> str:
    """Why a kernel is left as it is; empty where it is not."""
    kind = type(kernel.layer).__name__
    (structure,) = measure([kernel.weight()])
    reasons = {
        "of a kind that is not treated": kind not in KINDS,
        "the first or the last": kernel.layer.name in outer,
        "depthwise": kernel.word == "depthwise_kernel" and not (kind in DEPTHWISE and depthwise),
        "of few bits already": bool(structure.signed),
        "one weight for each output": structure.size < 2 * structure.channels,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def binary(kernel: Kernel) -> Parametrization:
    """Signs times the mean magnitude of the channel.

    Rastegari et al. 2016, arXiv:1603.05279, equation 6, with the gradient of Hubara et al. 2016.
    """
    axes = _axes(kernel)

    def values(own: Any) -> Any:
        tf = keras.tensorflow()
        return _signs(own) * tf.reduce_mean(tf.abs(own), axes, keepdims=True)

    return Parametrization(kernel.word, lambda own: _straight(values, own))


def ternary(kernel: Kernel) -> Parametrization:
    """Signs of what is over the threshold, times its mean magnitude in the channel.

    Li et al. 2016, arXiv:1605.04711, equations 3 to 6, by channel.
    """
    axes = _axes(kernel)

    def values(own: Any) -> Any:
        pattern = _pattern(own, axes)
        return pattern * _scales(own, pattern, axes)

    return Parametrization(kernel.word, lambda own: _straight(values, own))


def learnt_ternary(kernel: Kernel) -> Parametrization:
    """The same signs, times a number of the channel that is learnt.

    Zhu et al. 2017, arXiv:1612.01064, section 3.2, with one number for both signs.
    """
    axes = _axes(kernel)
    own = keras.tensorflow().constant(kernel.variable.numpy())
    scales = _scales(own, _pattern(own, axes), axes).numpy()

    def compute(own: Any, scale: Any) -> Any:
        return scale * _straight(lambda x: _pattern(x, axes), own)

    return Parametrization(kernel.word, compute, {"scale": scales})


def _axes(kernel: Kernel) -> tuple[int, ...]:
    """All dimensions of a kernel but its output channels."""
    if kernel.word == "depthwise_kernel":
        return tuple(range(len(kernel.variable.shape) - 2))
    channel = kernel.weight().channel_axis
    return tuple(i for i in range(len(kernel.variable.shape)) if i != channel)


def _signs(own: Any) -> Any:
    """1 or -1; 1 for zero."""
    tf = keras.tensorflow()
    return tf.where(own >= 0, tf.ones_like(own), -tf.ones_like(own))


def _pattern(own: Any, axes: Sequence[int]) -> Any:
    """1, -1, or 0 where the magnitude is under the threshold of the channel."""
    tf = keras.tensorflow()
    threshold = THRESHOLD * tf.reduce_mean(tf.abs(own), axes, keepdims=True)
    return tf.where(tf.abs(own) > threshold, tf.sign(own), tf.zeros_like(own))


def _scales(own: Any, pattern: Any, axes: Sequence[int]) -> Any:
    """The mean magnitude of what the pattern leaves, by channel."""
    tf = keras.tensorflow()
    total = tf.reduce_sum(own * pattern, axes, keepdims=True)
    return total / tf.maximum(tf.reduce_sum(tf.abs(pattern), axes, keepdims=True), 1.0)


def _straight(function: Any, own: Any) -> Any:
    """What a function gives, with the gradient of the identity where weights are not large."""
    tf = keras.tensorflow()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def pass_on(x: Any) -> Any:
        inside = tf.cast(tf.abs(x) <= CLIP, x.dtype)
        return function(x), lambda upstream: upstream * inside

    return pass_on(tf.convert_to_tensor(own))


def packing(model: Any, names: Collection[str], bits: int) -> dict[str, Any]:
    """What weights would take where something packs them, as plain data; nothing here does.

    Args:
        model: a tf_keras model.
        names: of its kernels that have few bits.
        bits: of each of their weights.

    Returns:
        ``layers``; ``weights``, how many there are; ``float_bytes`` of them; ``packed_bytes`` with
        a float32 for each channel; ``others_bytes`` of all other parameters as float32.
    """
    facts = measure([kernel.weight() for kernel in kernels(model) if kernel.name in names])
    weights = sum(fact.size for fact in facts)
    total = sum(math.prod(variable.shape) for variable in model.weights)
    return {
        "layers": [fact.name.rpartition("/")[0] for fact in facts],
        "weights": weights,
        "float_bytes": 4 * weights,
        "packed_bytes": sum(packed_bytes(f.size, f.channels, bits) for f in facts),
        "others_bytes": 4 * (total - weights),
    }
