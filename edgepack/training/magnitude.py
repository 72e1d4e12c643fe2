"""Which weights of a layer stay when those of least magnitude go, as TF-MOT chooses them."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def kept(values: Array, pattern: str, sparsity: float, block: int) -> Array:
    """Where a weight stays, in its shape.

    It is TF-MOT's choice (``pruning_impl.Pruning``), so that a layer gets the same zeros whether it
    is pruned as Keras holds it or as TFLite does.

    Args:
        values: a kernel in the layout of TFLite: input channels last.
        pattern: ``unstructured``, ``2:4`` or ``block``.
        sparsity: the fraction that goes; not used by ``2:4``.
        block: inputs in a row that stay or go together; used by ``block``.
    """
    magnitudes: Array = np.abs(values)
    if pattern == "2:4":
        return _two_of_four(magnitudes)
    if pattern == "block":
        means = _block_means(magnitudes, block)
        return np.repeat(largest(means, sparsity), block, axis=-1)[..., : values.shape[-1]]
    return largest(magnitudes, sparsity)


def largest(magnitudes: Array, sparsity: float) -> Array:
    """Where the ``1 - sparsity`` greatest values are; at least one, and all that equal the last."""
    share = np.float32(magnitudes.size) * np.float32(1 - np.float32(sparsity))
    count = max(int(np.round(share)), 1)
    threshold = np.partition(magnitudes.ravel(), magnitudes.size - count)[magnitudes.size - count]
    found: Array = magnitudes >= threshold
    return found


def _two_of_four(magnitudes: Array) -> Array:
    """The two greatest of each four along the last dimension, of equals the first."""
    last = magnitudes.shape[-1]
    padding = [(0, 0)] * (magnitudes.ndim - 1) + [(0, -last % 4)]
    fours = np.pad(magnitudes, padding).reshape(-1, 4)
    best = np.argsort(-fours, axis=1, kind="stable")[:, :2]
    mask = np.zeros(fours.shape, bool)
    np.put_along_axis(mask, best, True, axis=1)
    return mask.reshape(*magnitudes.shape[:-1], -1)[..., :last]


def _block_means(magnitudes: Array, block: int) -> Array:
    """The mean of each block along the last dimension.

    Where blocks do not fit evenly, TF-MOT takes the means over windows that are padded at both
    ends, and still lets each stand for a block counted from the first input.
    """
    last = magnitudes.shape[-1]
    missing = -last % block
    padding = [(0, 0)] * (magnitudes.ndim - 1) + [(missing // 2, missing - missing // 2)]
    counts = np.pad(np.ones(last), padding[-1:]).reshape(-1, block).sum(1)
    sums = np.pad(magnitudes, padding).reshape(*magnitudes.shape[:-1], -1, block).sum(-1)
    means: Array = sums / counts
    return means
