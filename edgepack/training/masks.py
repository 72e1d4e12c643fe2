"""Which weights of a layer stay when the least important go, in which patterns."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepack.training.patterns import BLOCKS

Array = np.ndarray[Any, Any]


def kept(importance: Array, pattern: str, sparsity: float, block: int) -> Array:
    """Where a weight stays, in its shape.

    For magnitudes it is TF-MOT's choice (``pruning_impl.Pruning``), so that a layer gets the same
    zeros whether it is pruned as Keras holds it or as TFLite does.

    Args:
        importance: of each weight, such as its magnitude, in the layout of TFLite: input channels
            last.
        pattern: one of `edgepack.training.patterns.PATTERNS`.
        sparsity: the fraction that goes; not used by ``2:4``.
        block: inputs in a row that stay or go together; used by ``block``.
    """
    if pattern == "2:4":
        return _two_of_four(importance)
    if pattern == "unstructured":
        return largest(importance, sparsity)
    size = BLOCKS.get(pattern, block)
    means = _block_means(importance, size)
    return np.repeat(largest(means, sparsity), size, axis=-1)[..., : importance.shape[-1]]


def zero_block(values: Array, channel_axis: int) -> int:
    """The size of the blocks of input channels that zeros come in, of `BLOCKS`; 1 for none.

    Args:
        values: a weight.
        channel_axis: the dimension of its output channels; the inputs' is the last of the others.
    """
    last = values.ndim - 1
    along = np.moveaxis(values, last if channel_axis != last else last - 1, -1) != 0
    for size in sorted(BLOCKS.values(), reverse=True):
        if along.shape[-1] < size or along.all():
            continue
        padding = [(0, 0)] * last + [(0, -along.shape[-1] % size)]
        blocks = np.pad(along, padding, mode="edge").reshape(-1, size)
        if np.array_equal(blocks.any(1), blocks.all(1)):
            return size
    return 1


def largest(importance: Array, sparsity: float) -> Array:
    """Where the ``1 - sparsity`` greatest values are; at least one, and all that equal the last."""
    share = np.float32(importance.size) * np.float32(1 - np.float32(sparsity))
    count = max(int(np.round(share)), 1)
    threshold = np.partition(importance.ravel(), importance.size - count)[importance.size - count]
    found: Array = importance >= threshold
    return found


def ranks(scores: Array, weights: Array) -> Array:
    """Scores in their order from 0 on, without equals: of those the greater weight ranks higher.

    What is zero already ranks lowest, so that it stays zero.
    """
    magnitudes = np.abs(weights).ravel()
    order = np.lexsort((magnitudes, scores.ravel(), magnitudes > 0))
    placed = np.empty(scores.size, np.float32)
    placed[order] = np.arange(scores.size, dtype=np.float32)
    return placed.reshape(scores.shape)


def _two_of_four(importance: Array) -> Array:
    """The two greatest of each four along the last dimension, of equals the first."""
    last = importance.shape[-1]
    padding = [(0, 0)] * (importance.ndim - 1) + [(0, -last % 4)]
    fours = np.pad(importance, padding).reshape(-1, 4)
    best = np.argsort(-fours, axis=1, kind="stable")[:, :2]
    mask = np.zeros(fours.shape, bool)
    np.put_along_axis(mask, best, True, axis=1)
    return mask.reshape(*importance.shape[:-1], -1)[..., :last]


def _block_means(importance: Array, block: int) -> Array:
    """The mean of each block along the last dimension.

    Where blocks do not fit evenly, TF-MOT takes the means over windows that are padded at both
    ends, and still lets each stand for a block counted from the first input.
    """
    last = importance.shape[-1]
    missing = -last % block
    padding = [(0, 0)] * (importance.ndim - 1) + [(missing // 2, missing - missing // 2)]
    counts = np.pad(np.ones(last), padding[-1:]).reshape(-1, block).sum(1)
    sums = np.pad(importance, padding).reshape(*importance.shape[:-1], -1, block).sum(-1)
    means: Array = sums / counts
    return means
