"""Few values that several weights have in common: found in the weights themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FEW = 256
"""The most distinct values that a clustered weight may have: what one byte can index."""

COMMON = 4
"""Fewer values other than zero may be the same by accident, such as -1 and 1."""


def codebooks(weights: Sequence[Array]) -> list[str]:
    """The same word for weights that have at least half of their few distinct floats in common.

    A weight need not have all values of its codebook. The word is empty where no other weight has
    them, for integers, which differ by their scales, and where values are more than `FEW`.

    Args:
        weights: the values of each weight.
    """
    found = [_few(values) for values in weights]
    groups: list[set[int]] = []
    for number, own in enumerate(found):
        joined = [g for g in groups if own and any(_in_common(own, found[other]) for other in g)]
        groups = [g for g in groups if g not in joined] + [{number}.union(*joined)]
    words = [""] * len(found)
    for group in (g for g in groups if len(g) > 1):
        union = np.array(sorted(set().union(*(found[number] for number in group))))
        for number in group:
            words[number] = hashlib.sha256(union.tobytes()).hexdigest()[:16]
    return words


def _few(values: Array) -> frozenset[float]:
    """The distinct floats other than zero; none where they are many."""
    distinct = np.unique(values) if values.dtype.kind == "f" else np.zeros(0)
    return frozenset((distinct[distinct != 0]).tolist() if distinct.size <= FEW else ())


def _in_common(a: frozenset[float], b: frozenset[float]) -> bool:
    return len(a & b) >= max(COMMON, min(len(a), len(b)) / 2)
