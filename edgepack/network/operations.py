"""Keras 3 operations as functions on tf_keras tensors, as layers that TF-MOT knows where it can be.

Arguments after the star are attributes of the Keras 3 operation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network import activations

Function = Callable[..., Any]


def symbolic(value: Any) -> bool:
    """Whether a value is a tensor of the graph being built."""
    return hasattr(value, "_keras_history")


def constant(value: Any, like: Any) -> Any:
    """An array among the arguments, in the type of the tensor that it meets."""
    if symbolic(value) or not hasattr(value, "__array__") or like is None:
        return value
    array = np.asarray(value)
    return array.astype(like.dtype.as_numpy_dtype) if array.dtype.kind == "f" else array


def merge(layer: str, function: Function) -> Function:
    """The merging layer that TF-MOT knows, where both sides are tensors of one shape."""

    def call(x1: Any, x2: Any) -> Any:
        if symbolic(x1) and symbolic(x2) and x1.shape == x2.shape:
            return getattr(keras.tf_keras().layers, layer)()([x1, x2])
        return function(x1, x2)

    return call


def activation(word: str) -> Function:
    """A function that applies an activation layer."""
    return lambda x: keras.tf_keras().layers.Activation(word)(x)


def reduce(function: Function) -> Function:
    """A reduction over axes."""
    return lambda x, *, axis, keepdims: function(x, axis, keepdims)


def relu(x: Any, *, negative_slope: float, max_value: float | None, threshold: float) -> Any:
    """The general ReLU, as a layer."""
    layer = keras.tf_keras().layers.ReLU
    return layer(max_value=max_value, negative_slope=negative_slope, threshold=threshold)(x)


def softmax(x: Any, *, axis: int) -> Any:
    """Over the last axis the activation layer, else the function."""
    if axis in (-1, len(x.shape) - 1):
        return keras.tf_keras().layers.Activation("softmax")(x)
    return keras.tensorflow().nn.softmax(x, axis)


def reshape(x: Any, *, newshape: tuple[int, ...]) -> Any:
    """A layer where the batch stays as it is, else the function."""
    shape = [-1 if d is None else d for d in newshape]
    inner = list(x.shape[1:])
    same_batch = None not in inner and math.prod(shape[1:]) == math.prod(inner)
    if shape[0] == -1 and same_batch and -1 not in shape[1:]:
        return keras.tf_keras().layers.Reshape(shape[1:])(x)
    return keras.tensorflow().reshape(x, shape)


def concatenate(xs: Any, *, axis: int) -> Any:
    """As a layer."""
    return keras.tf_keras().layers.Concatenate(axis=axis)(list(xs))


def transpose(x: Any, *, axes: Any) -> Any:
    """The axes in a given order, or reversed."""
    return keras.tensorflow().transpose(x, None if axes is None else list(axes))


def swapaxes(x: Any, *, axis1: int, axis2: int) -> Any:
    """Two axes change places."""
    order = list(range(len(x.shape)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return keras.tensorflow().transpose(x, order)


def moveaxis(x: Any, *, source: Any, destination: Any) -> Any:
    """Axes move to other places; the rest keep their order."""
    pairs = zip(np.atleast_1d(destination), np.atleast_1d(source), strict=True)
    rank = len(x.shape)
    moved = sorted((int(d) % rank, int(s) % rank) for d, s in pairs)
    order = [i for i in range(rank) if i not in [s for _, s in moved]]
    for d, s in moved:
        order.insert(d, s)
    return keras.tensorflow().transpose(x, order)


def pad(x: Any, constant_values: Any = None, *, pad_width: Any, mode: str) -> Any:
    """Width before and after, for each axis."""
    widths = np.broadcast_to(np.asarray(pad_width), (len(x.shape), 2)).tolist()
    return keras.tensorflow().pad(x, widths, mode.upper(), constant_values=constant_values or 0)


def split(x: Any, *, indices_or_sections: Any, axis: int) -> Any:
    """Into equal parts, or before the given indices."""
    tf = keras.tensorflow()
    if isinstance(indices_or_sections, int):
        return tf.split(x, indices_or_sections, axis)
    edges = [0, *(int(i) for i in indices_or_sections), x.shape[axis]]
    return tf.split(x, [b - a for a, b in itertools.pairwise(edges)], axis)


def getitem(x: Any, key: Any) -> Any:
    """Indices, slices, ellipses and new axes."""
    return x[tuple(key) if isinstance(key, list | tuple) else key]


def take(x: Any, indices: Any, *, axis: int | None) -> Any:
    """Slices by their numbers."""
    tf = keras.tensorflow()
    return tf.gather(tf.reshape(x, [-1]) if axis is None else x, indices, axis=axis or 0)


def cast(x: Any, *, dtype: str) -> Any:
    """To another type."""
    return keras.tensorflow().cast(x, dtype)


def one_hot(x: Any, *, num_classes: int, axis: int, dtype: str | None) -> Any:
    """Numbers to vectors with a single one."""
    return keras.tensorflow().one_hot(x, num_classes, axis=axis, dtype=dtype or "float32")


def clip(x: Any, *, x_min: float, x_max: float) -> Any:
    """To a range."""
    return keras.tensorflow().clip_by_value(x, x_min, x_max)


def gelu(x: Any, *, approximate: bool) -> Any:
    """Exact, or by tanh."""
    return keras.tensorflow().nn.gelu(x, approximate)


def elu(x: Any, *, alpha: float) -> Any:
    """As a layer."""
    return keras.tf_keras().layers.ELU(alpha=alpha)(x)


def celu(x: Any, *, alpha: float) -> Any:
    """See `activations.celu`."""
    return activations.celu(x, alpha)


def argmax(x: Any, *, axis: int, keepdims: bool) -> Any:
    """Where the largest value is."""
    tf = keras.tensorflow()
    found = tf.argmax(x, axis, output_type="int32")
    return tf.expand_dims(found, axis) if keepdims else found


def normalize(x: Any, *, axis: int, order: int, epsilon: float | None) -> Any:
    """To a Euclidean norm of 1; ValueError for other norms."""
    if order != 2:
        raise ValueError(f"normalize of order {order}")
    return keras.tensorflow().math.l2_normalize(x, axis, epsilon=(epsilon or 1e-7) ** 2)


def resize(x: Any, *, size: Any, interpolation: str, antialias: bool) -> Any:
    """Images to a size."""
    return keras.tensorflow().image.resize(x, list(size), interpolation, antialias=antialias)


def flip(x: Any, *, axis: Any) -> Any:
    """Reversed along axes."""
    axes = range(len(x.shape)) if axis is None else np.atleast_1d(axis)
    return keras.tensorflow().reverse(x, [int(a) for a in axes])
