"""Operators that take a part of a tensor, or parts; the batch stays whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.thawing.call import Builder, Call, UnsuitableError, batch_axis


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        "REVERSE_V2": reverse,
        "SLICE": cut,
        "SPLIT": split,
        "SPLIT_V": split_into,
        "STRIDED_SLICE": strided_slice,
        "UNPACK": unpack,
    }


def unpack(call: Call) -> Any:
    """Apart along an axis."""
    x, axis = call.input(0), int(call.option("axis"))
    if symbolic(x) and batch_axis(x) == axis % len(x.shape):
        raise UnsuitableError("it takes the batch apart")
    return list(call.function(keras.tensorflow().unstack, x, call.option("num", None), axis))


def split(call: Call) -> Any:
    """Into equal parts."""
    parts = call.function(
        keras.tensorflow().split, call.input(1), int(call.option("num_splits")), call.integer(0)
    )
    return list(parts)


def split_into(call: Call) -> Any:
    """Into parts of given sizes."""
    wanted = call.constant(1).tolist()
    return list(call.function(keras.tensorflow().split, call.input(0), wanted, call.integer(2)))


def cut(call: Call) -> Any:
    """A block from a beginning on, of a size."""
    x, begin, size = call.input(0), call.constant(1).tolist(), call.constant(2).tolist()
    axis = batch_axis(x) if symbolic(x) else None
    if axis is not None:
        whole = size[axis] < 0 or size[axis] == call.sizes(0)[axis]
        if begin[axis] or not whole:
            raise UnsuitableError("it cuts the batch")
        size[axis] = -1
    return call.function(keras.tensorflow().slice, x, begin, size)


def strided_slice(call: Call) -> Any:
    """Every so many values between two places, by TensorFlow's masks."""
    x = call.input(0)
    begin, end, strides = (call.constant(i).astype(int).tolist() for i in (1, 2, 3))
    words = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    masks = {f"{word}_mask": int(call.option(f"{word}_mask")) for word in words}
    axis = batch_axis(x) if symbolic(x) else None
    if call.option("offset", False):
        raise UnsuitableError("its end counts from its beginning")
    if axis is not None and not masks["ellipsis_mask"] and not masks["new_axis_mask"]:
        _leave_batch(call, axis, (begin, end, strides), masks)
    return call.function(keras.tensorflow().strided_slice, x, begin, end, strides, **masks)


def _leave_batch(
    call: Call, axis: int, places: tuple[list[int], list[int], list[int]], masks: dict[str, int]
) -> None:
    """Let a slice that holds the whole batch of the source hold any batch."""
    begin, end, strides = places
    if axis >= len(begin):
        return
    bit, size = 1 << axis, call.sizes(0)[axis]
    first = bool(masks["begin_mask"] & bit) or begin[axis] == 0
    last = bool(masks["end_mask"] & bit) or end[axis] >= size or end[axis] == -1
    if masks["shrink_axis_mask"] & bit or not (first and last and strides[axis] == 1):
        raise UnsuitableError("it cuts the batch")
    masks["begin_mask"] |= bit
    masks["end_mask"] |= bit


def reverse(call: Call) -> Any:
    """Back to front along axes."""
    axes = np.atleast_1d(call.constant(1)).tolist()
    return call.function(keras.tensorflow().reverse, call.input(0), axes)
