"""How sure a metric is that was measured on some samples: its 95 % confidence interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgepack.evaluate import Arrays, Metric

SHARES = frozenset({"accuracy", "top5"})
"""Metrics that are a share of samples."""

NORMAL = 1.96
"""The quantile of the normal distribution at 97.5 %."""

RESAMPLES = 100
"""Draws of the samples with replacement, whose scatter is that of the metric."""


def interval(metric: Metric, outputs: Arrays, labels: Arrays) -> tuple[float, float]:
    """Where the metric of all such samples lies, by those that were seen.

    A share of samples has Wilson's interval (1927, JASA 22), which holds at 0 and 1 as well. Any
    other metric has the normal interval of a bootstrap over samples (Efron 1979).

    Args:
        metric: what was measured.
        outputs: of the model, ``[n, ...]`` by name.
        labels: likewise.
    """
    value, count = metric(outputs, labels), len(next(iter(labels.values())))
    if metric.name in SHARES:
        return wilson(value, count)
    half = NORMAL * float(np.std(_resampled(metric, outputs, labels, count)))
    return value - half, value + half


def wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of so many samples."""
    square = NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = share * (1 - share) / count + square / (4 * count**2)
    half = NORMAL * math.sqrt(spread) / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _resampled(metric: Metric, outputs: Arrays, labels: Arrays, count: int) -> list[float]:
    rng = np.random.default_rng(0)

    def draw(arrays: Arrays, chosen: Any) -> Arrays:
        return {name: values[chosen] for name, values in arrays.items()}

    draws = (rng.integers(0, count, count) for _ in range(RESAMPLES))
    return [metric(draw(outputs, chosen), draw(labels, chosen)) for chosen in draws]
