"""Decodes sparse constants of a .tflite: levels of dense and CSR dimensions, blocks included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray


def densify(stored: NDArray[Any], shape: Sequence[int], sparsity: Any) -> NDArray[Any]:
    """The dense array that a sparse constant stands for.

    Each level of ``sparsity`` (a SparsityParametersT) narrows down the place of a value: a dense
    level goes through all its positions, a CSR level through those that it lists. The format is
    that of the Tensor Algebra Compiler (Kjolstad et al. 2017) with blocks as further levels.

    Args:
        stored: the values kept, in the order of traversal.
        shape: of the dense array.
        sparsity: how they lie in it.

    Raises:
        ValueError: if the levels do not fit the shape or the number of values.
    """
    size = math.prod(shape)
    if min(shape, default=0) < 1:
        raise ValueError(f"a sparse constant of shape {list(shape)}")
    places = np.zeros(1, np.int64)
    for level, stride in zip(sparsity.dimMetadata, _strides(shape, sparsity), strict=True):
        places = _descend(places, level, stride, size)
    if len(places) != len(stored) or (len(places) and not 0 <= places.min() <= places.max() < size):
        raise ValueError(f"{len(stored)} sparse values for {len(places)} places of {size}")
    dense = np.zeros(size, stored.dtype)
    dense[places] = stored
    return dense.reshape(shape)


def _strides(shape: Sequence[int], sparsity: Any) -> list[int]:
    """How far apart in the dense array two neighbours of each level are."""
    rank = len(shape)
    order = [int(d) for d in sparsity.traversalOrder]
    blocked = [int(d) for d in (sparsity.blockMap if sparsity.blockMap is not None else ())]
    if sorted(order) != list(range(rank + len(blocked))) or len(sparsity.dimMetadata) != len(order):
        raise ValueError(f"levels {order} for a sparse constant of {rank} dimensions")
    if any(not 0 <= d < rank for d in blocked):
        raise ValueError(f"blocks of dimensions {blocked} in a constant of {rank}")
    row_major = [math.prod(shape[d + 1 :]) for d in range(rank)]
    blocks = {
        blocked[d - rank]: int(level.denseSize)
        for d, level in zip(order, sparsity.dimMetadata, strict=True)
        if d >= rank
    }
    return [
        row_major[d] * blocks.get(d, 1) if d < rank else row_major[blocked[d - rank]] for d in order
    ]


def _descend(places: NDArray[Any], level: Any, stride: int, size: int) -> NDArray[Any]:
    if level.format == schema.DimensionType.DENSE:
        count = int(level.denseSize)
        if count < 0 or count * len(places) > size:
            raise ValueError(f"a dense level of {count} positions in a constant of {size}")
        outer: NDArray[Any] = np.add.outer(places, np.arange(count, dtype=np.int64) * stride)
        return outer.ravel()
    ends = np.asarray(level.arraySegments.values, np.int64)
    listed = np.asarray(level.arrayIndices.values, np.int64)
    counts = np.diff(ends)
    if len(counts) != len(places) or np.any(counts < 0) or ends[0] != 0 or ends[-1] != len(listed):
        raise ValueError(f"the {len(listed)} indices of a CSR level do not fit its segments")
    if len(listed) > size:
        raise ValueError(f"{len(listed)} indices in a constant of {size}")
    found: NDArray[Any] = np.repeat(places, counts) + listed * stride
    return found
