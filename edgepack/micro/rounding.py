"""How far two runtimes are apart, and where they are known to round in different ways."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.tflite.flatbuffer import Graph, Operator

FLOAT_TOLERANCE = 1e-4
"""Of the largest value of an operator's output: sums of 32-bit numbers in another order."""


@cache
def table() -> Mapping[str, Any]:
    """Operators that runtimes are known to round in different ways, or to compute wrong."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def known(
    kind: Literal["rounding", "faulty"], graph: Graph, operator: Operator, runtime: str
) -> str:
    """The reason that the table gives for an operator of a runtime; empty where it has none."""
    dtype = data_type(graph, operator)
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    kept = {tensor.dtype for tensor in inputs if tensor.is_variable}
    for row in table()[kind]:
        is_meant = operator.code in row["operators"] and runtime in row["runtimes"]
        if is_meant and dtype in row["dtypes"] and kept >= set(row.get("variables", ())):
            return str(row["reason"])
    return ""


def data_type(graph: Graph, operator: Operator) -> str:
    """The type of what an operator works on: of its first input that is no constant."""
    tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
    return next((t.dtype for t in tensors if not t.is_constant), "")


def difference(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
) -> tuple[float, int, int, bool]:
    """How far arrays of two runtimes are apart, pair by pair.

    Returns:
        The largest difference, how many values differ, how many there are, and whether real
        numbers are within `FLOAT_TOLERANCE`.
    """
    import numpy as np

    largest, differing, total, is_close = 0.0, 0, 0, True
    for mine, other in pairs:
        a, b = mine.ravel().astype(np.float64), other.ravel().astype(np.float64)
        if a.shape != b.shape:
            return float("inf"), max(len(a), len(b)), max(len(a), len(b)), False
        unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
        gaps = np.nan_to_num(np.abs(a - b)[unequal], nan=np.inf, posinf=np.inf)
        total, differing = total + len(a), differing + int(unequal.sum())
        gap = float(gaps.max()) if len(gaps) else 0.0
        largest = max(largest, gap)
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
        is_close = is_close and gap <= FLOAT_TOLERANCE * scale
    return largest, differing, total, is_close
