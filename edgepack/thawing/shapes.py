"""Operators that move values and compute none; the batch stays open wherever it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.thawing.call import Builder, Call, UnsuitableError, batch_axis, bounded


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        "BATCH_TO_SPACE_ND": batch_to_space,
        "BROADCAST_TO": broadcast,
        "CAST": cast,
        "CONCATENATION": concatenation,
        "DENSIFY": lambda call: call.input(0),
        "DEPTH_TO_SPACE": depth_to_space,
        "DEQUANTIZE": dequantize,
        "EXPAND_DIMS": lambda call: reshaped(call, call.input(0), call.sizes(0), expanded(call)),
        "FILL": fill,
        "MIRROR_PAD": mirror_pad,
        "PACK": pack,
        "PAD": pad,
        "PADV2": pad,
        "RANGE": span,
        "RESHAPE": reshape,
        "SHAPE": shape_of,
        "SPACE_TO_BATCH_ND": space_to_batch,
        "SPACE_TO_DEPTH": space_to_depth,
        "SQUEEZE": lambda call: reshaped(call, call.input(0), call.sizes(0), squeezed(call)),
        "TILE": tile,
        "TRANSPOSE": transpose,
        "ZEROS_LIKE": lambda call: call.function(keras.tensorflow().zeros_like, call.input(0)),
    }


def reshaped(call: Call, x: Any, source: Sequence[int], target: Sequence[int]) -> Any:
    """A value in another shape.

    Args:
        call: for its names.
        x: the value.
        source: its shape for the batch of the source.
        target: the same for the result; what is open is found out.
    """
    target = resolved(source, target)
    if not symbolic(x):
        return np.reshape(x, target)
    if tuple(x.shape) == (None, *target[1:]):
        return x
    axis = batch_axis(x)
    opened = list(target)
    if axis is not None:
        opened[batch_place(source, axis, target)] = -1
    inner = math.prod(target[1:]) == math.prod(source[1:])
    if axis == 0 and opened[0] == -1 and inner and target:
        return call.layer("Reshape", x, target_shape=opened[1:])
    return call.function(keras.tensorflow().reshape, x, opened)


def resolved(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """A target with the dimension that it leaves open, from the number of values."""
    known = math.prod(n for n in target if n >= 0)
    free = [i for i, n in enumerate(target) if n < 0]
    total = math.prod(source)
    if len(free) > 1 or (free and (known == 0 or total % known)) or (not free and known != total):
        raise UnsuitableError(f"values of shape {list(source)} do not fit {list(target)}")
    return [total // known if n < 0 else int(n) for n in target]


def batch_place(source: Sequence[int], axis: int, target: Sequence[int]) -> int:
    """The dimension that holds the batch after a reshape: where as many values lie before it.

    Where several do, it is the first of size 1, as the batch is in the source.
    """
    before = math.prod(source[:axis])
    places = [i for i in range(len(target)) if math.prod(target[:i]) == before]
    if not places:
        raise UnsuitableError("it tears the batch apart")
    alone = [i for i in places if target[i] == 1]
    return alone[0] if alone else places[-1]


def reshape(call: Call) -> Any:
    """To a constant shape, or the one that the file tells."""
    wanted: Any = call.options.get("new_shape")
    if len(call.inputs) > 1 and call.inputs[1] is not None:
        wanted = call.constant(1).tolist()
    if wanted is None:
        wanted = call.output().shape
    target = np.atleast_1d(wanted).astype(int).tolist()
    return reshaped(call, call.input(0), call.sizes(0), target)


def expanded(call: Call) -> list[int]:
    """The shape with a dimension more."""
    shape = list(call.sizes(0))
    axis = call.integer(1)
    if not -len(shape) - 1 <= axis <= len(shape):
        raise UnsuitableError(f"there is no axis {axis}")
    shape.insert(axis + len(shape) + 1 if axis < 0 else axis, 1)
    return shape


def squeezed(call: Call) -> list[int]:
    """The shape without dimensions of 1."""
    shape = list(call.sizes(0))
    named = call.option("squeeze_dims", None) or [i for i, n in enumerate(shape) if n == 1]
    dropped = {int(i) % len(shape) for i in named} if shape else set()
    return [n for i, n in enumerate(shape) if i not in dropped]


def transpose(call: Call) -> Any:
    """Axes in another order."""
    x, order = call.input(0), call.constant(1).tolist()
    order = [int(i) % max(1, len(x.shape)) for i in order]
    if symbolic(x) and order[:1] == [0] and batch_axis(x) == 0:
        return call.layer("Permute", x, dims=order[1:])
    return call.function(keras.tensorflow().transpose, x, order)


def shape_of(call: Call) -> Any:
    """The shape as a constant; the open batch in it is -1, which a reshape understands."""
    kind = "int64" if call.output().dtype == "int64" else "int32"
    return np.array([-1 if n is None else n for n in call.input(0).shape], kind)


def concatenation(call: Call) -> Any:
    """Along an axis; constants are repeated for each sample."""
    xs = alike(call, [call.input(i) for i in range(len(call.inputs))])
    axis = int(call.option("axis"))
    if all(symbolic(x) for x in xs):
        return call.layer("Concatenate", xs, axis=axis) if len(xs) > 1 else xs[0]
    return call.function(keras.tensorflow().concat, xs, axis)


def pack(call: Call) -> Any:
    """Side by side, along a new axis."""
    xs = alike(call, [call.input(i) for i in range(len(call.inputs))])
    return call.function(keras.tensorflow().stack, xs, axis=int(call.option("axis")))


def alike(call: Call, xs: list[Any]) -> list[Any]:
    """Values to be put together: constants get the batch of those that have one."""
    like = next((x for x in xs if symbolic(x) and batch_axis(x) is not None), None)
    if like is None:
        return xs
    return [x if symbolic(x) else spread(call, x, like) for x in xs]


def spread(call: Call, value: Any, like: Any) -> Any:
    """A constant of one sample, repeated for the samples of a tensor."""
    tf = keras.tensorflow()
    axis = batch_axis(like)
    if axis is None or value.ndim != len(like.shape) or value.shape[axis] != 1:
        return value
    call.fix("a constant")
    others = [i for i in range(value.ndim) if i != axis]
    nothing = call.function(tf.zeros_like, like)
    nothing = call.function(tf.reduce_sum, nothing, others, keepdims=True)
    return call.function(tf.add, nothing, value)


def pad(call: Call) -> Any:
    """Zeros or another value around; before and after each image a layer."""
    x, widths = call.input(0), call.constant(1).astype(int).tolist()
    value = float(call.constant(2).reshape(())) if len(call.inputs) > 2 else 0.0
    bounded([n + sum(width) for n, width in zip(call.sizes(0), widths, strict=True)])
    image = symbolic(x) and len(widths) == 4 and widths[0] == widths[3] == [0, 0]
    if image and value == 0:
        return call.layer("ZeroPadding2D", x, padding=(tuple(widths[1]), tuple(widths[2])))
    if call.tensor(0).dtype.startswith(("int", "uint")):
        return call.function(keras.tensorflow().pad, x, widths, constant_values=int(value))
    return call.function(keras.tensorflow().pad, x, widths, constant_values=value)


def mirror_pad(call: Call) -> Any:
    """What lies inside, reflected around; mode 1 repeats the edge."""
    mode = "SYMMETRIC" if call.option("mode") in (1, "SYMMETRIC") else "REFLECT"
    return call.function(keras.tensorflow().pad, call.input(0), call.constant(1).tolist(), mode)


def tile(call: Call) -> Any:
    """Repeated along axes; a constant for each sample is repeated where it is read."""
    counts = [max(1, int(n)) if n else 0 for n in call.constant(1).tolist()]
    bounded([n * count for n, count in zip(call.sizes(0), counts, strict=True)])
    return call.function(keras.tensorflow().tile, call.input(0), counts)


def broadcast(call: Call) -> Any:
    """To a larger shape; of the batch nothing is needed, as operators broadcast by themselves."""
    x, wanted = call.input(0), [max(1, n) if n else 0 for n in call.constant(1).tolist()]
    if not symbolic(x):
        return np.broadcast_to(x, bounded(wanted)).copy()
    shape = (1,) * (len(wanted) - len(x.shape)) + call.sizes(0)
    counts = [b // a if a else 1 for a, b in zip(shape, wanted, strict=True)]
    whole = reshaped(call, x, call.sizes(0), shape)
    return call.function(keras.tensorflow().tile, whole, counts)


def fill(call: Call) -> Any:
    """One value everywhere."""
    wanted = [max(1, int(n)) if n else 0 for n in call.constant(0).tolist()]
    return np.full(bounded(wanted), call.constant(1).reshape(()))


def span(call: Call) -> Any:
    """Numbers in a row."""
    start, stop, step = (call.constant(i).reshape(()) for i in range(3))
    bounded([0 if step == 0 else math.ceil((stop - start) / step)])
    return np.arange(start, stop, step).astype(call.constant(0).dtype)


def cast(call: Call) -> Any:
    """To another type."""
    return call.function(keras.tensorflow().cast, call.input(0), call.output().dtype)


def dequantize(call: Call) -> Any:
    """Constants of 16 bits as 32."""
    return call.constant(0).astype(np.float32)


def depth_to_space(call: Call) -> Any:
    """Channels to a block of pixels."""
    block = int(call.option("block_size"))
    return call.function(keras.tensorflow().nn.depth_to_space, call.input(0), block)


def space_to_depth(call: Call) -> Any:
    """A block of pixels to channels."""
    block = int(call.option("block_size"))
    return call.function(keras.tensorflow().nn.space_to_depth, call.input(0), block)


def space_to_batch(call: Call) -> Any:
    """Blocks to the batch, for a dilated convolution."""
    block, pads = call.constant(1).tolist(), call.constant(2).tolist()
    return call.function(keras.tensorflow().space_to_batch_nd, call.input(0), block, pads)


def batch_to_space(call: Call) -> Any:
    """The way back from there."""
    tf = keras.tensorflow()
    block, crops = call.constant(1).tolist(), call.constant(2).tolist()
    return call.function(tf.compat.v1.batch_to_space_nd, call.input(0), block, crops)
