"""The activations of Keras 3 in terms of tf_keras, where tf_keras lacks them or means otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack import keras

SAME = {
    "elu": "elu",
    "exponential": "exponential",
    "gelu": "gelu",
    "linear": "linear",
    "mish": "mish",
    "relu": "relu",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "silu": "swish",
    "softmax": "softmax",
    "softplus": "softplus",
    "swish": "swish",
    "tanh": "tanh",
}
"""Keras 3 activations that tf_keras computes alike, and what it calls them."""


def other(name: str) -> Callable[..., Any] | None:
    """The function on tensors for a Keras 3 activation that is not in `SAME`; None if unknown."""
    return _OTHER.get(name)


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6), as the layer that TF-MOT knows."""
    return keras.tf_keras().layers.ReLU(max_value=6.0)(x)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """Gives x where it is positive, else ``negative_slope * x``."""
    return keras.tf_keras().layers.LeakyReLU(alpha=negative_slope)(x)


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6; Keras 2 has another line: clip(0.2 x + 0.5, 0, 1)."""
    return keras.tensorflow().nn.relu6(x + 3.0) * (1.0 / 6.0)


def hard_silu(x: Any) -> Any:
    """Gives x * relu6(x + 3) / 6, in the shape that the converter fuses to HARD_SWISH."""
    return x * keras.tensorflow().nn.relu6(x + 3.0) * (1.0 / 6.0)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)."""
    tf = keras.tensorflow()
    return tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0) / alpha) - 1.0)


def glu(x: Any, axis: int = -1) -> Any:
    """One half of x, gated by the sigmoid of the other."""
    tf = keras.tensorflow()
    half, gate = tf.split(x, 2, axis)
    return half * tf.sigmoid(gate)


def log_sigmoid(x: Any) -> Any:
    """-softplus(-x)."""
    return -keras.tensorflow().math.softplus(-x)


def hard_tanh(x: Any) -> Any:
    """Gives x within [-1, 1]."""
    return keras.tensorflow().clip_by_value(x, -1.0, 1.0)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Gives x moved towards zero by the threshold."""
    tf = keras.tensorflow()
    return tf.nn.relu(x - threshold) - tf.nn.relu(-x - threshold)


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Gives x where it is beyond the threshold, else 0."""
    tf = keras.tensorflow()
    return tf.where(tf.abs(x) > threshold, x, 0.0)


def tanh_shrink(x: Any) -> Any:
    """Gives x - tanh(x)."""
    return x - keras.tensorflow().tanh(x)


def sparse_plus(x: Any) -> Any:
    """0 below -1, x above 1, and (x + 1)^2 / 4 between them."""
    tf = keras.tensorflow()
    return 0.25 * tf.square(tf.clip_by_value(x, -1.0, 1.0) + 1.0) + tf.nn.relu(x - 1.0)


def sparse_sigmoid(x: Any) -> Any:
    """(x + 1) / 2 within [0, 1]."""
    return keras.tensorflow().clip_by_value(0.5 * x + 0.5, 0.0, 1.0)


def softsign(x: Any) -> Any:
    """Gives x / (|x| + 1) in operators that TFLite has; of Softsign it has none."""
    return x / (keras.tensorflow().abs(x) + 1.0)


def squareplus(x: Any, b: float = 4) -> Any:
    """(x + sqrt(x^2 + b)) / 2."""
    tf = keras.tensorflow()
    return 0.5 * (x + tf.sqrt(tf.square(x) + float(b)))


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """Gives x where it is above the threshold, else the default value."""
    return keras.tensorflow().where(x > threshold, x, float(default_value))


def log_softmax(x: Any, axis: int = -1) -> Any:
    """The logarithm of the softmax."""
    return keras.tensorflow().nn.log_softmax(x, axis)


def sparsemax(x: Any, axis: int = -1) -> Any:
    """Sparse probabilities over the last axis, as Keras 3 computes them.

    Martins and Astudillo (2016, algorithm 1) take the last running total of the support; Keras 3
    (3.15) adds up all of them, and its models were trained with that.

    Raises:
        ValueError: for an axis that is not the last.
    """
    if axis not in (-1, len(x.shape) - 1):
        raise ValueError(f"sparsemax over axis {axis}, which is not the last")
    tf = keras.tensorflow()
    falling = tf.sort(x, direction="DESCENDING")
    total = tf.cumsum(falling, axis=-1)
    rank = [float(i) for i in range(1, x.shape[-1] + 1)]
    inside = tf.cast(falling * rank > total - 1.0, "float32")
    count = tf.reduce_sum(inside, -1, True)
    return tf.nn.relu(x - (tf.reduce_sum(total * inside, -1, True) - 1.0) / count)


_OTHER: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        celu,
        glu,
        hard_shrink,
        hard_sigmoid,
        hard_silu,
        hard_tanh,
        leaky_relu,
        log_sigmoid,
        log_softmax,
        relu6,
        soft_shrink,
        sparse_plus,
        sparse_sigmoid,
        sparsemax,
        softsign,
        squareplus,
        tanh_shrink,
        threshold,
    )
} | {"hard_swish": hard_silu}
