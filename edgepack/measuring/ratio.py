"""The ratio of two medians, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.measuring.statistics import median, resampled_medians

QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Of Student's t at 97.5 %, for 1, 2, ... degrees of freedom."""

Processes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians.

    Attributes:
        value: the ratio.
        low: the lower end of its 95 % confidence interval.
        high: the upper end.
    """

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def median_ratio(a: Processes, b: Processes, seed: int = 0) -> Ratio | None:
    """How many times the median of all values of ``a`` that of ``b`` is.

    The variances of both logarithms are those of `resampled_medians`, times n / (n - 1) because a
    bootstrap of n processes misses so much, and the interval is Student's with the degrees of
    freedom of Welch and Satterthwaite. The percentiles of the bootstrap alone are too narrow for
    three processes (Hesterberg, What Teachers Should Know About the Bootstrap, 2015): they tell
    more than a fifth of all pairs of equal measurements apart (benchmarks/false_alarms.py).

    Args:
        a: values of each process.
        b: likewise.
        seed: of the resampling.

    Returns:
        the ratio; None where a side has only one process, so that nothing is known of how
        processes differ, or where a value is not above 0.
    """
    if min(len(a), len(b)) < 2 or min(min(process) for process in (*a, *b)) <= 0:
        return None
    spreads = (_variance(a, seed), _variance(b, seed + 1))
    value = median([v for process in b for v in process]) / median([v for p in a for v in p])
    half = _quantile(spreads, (len(a), len(b))) * math.sqrt(sum(spreads))
    return Ratio(value, value * math.exp(-half), value * math.exp(half))


def _variance(processes: Processes, seed: int) -> float:
    """Of the logarithm of the median."""
    import numpy as np

    count = len(processes)
    return float(np.log(resampled_medians(processes, seed)).var()) * count / (count - 1)


def _quantile(variances: Sequence[float], counts: Sequence[int]) -> float:
    """Student's t at 97.5 % for the difference of two means, never below the true one."""
    terms = [v * v / (n - 1) for v, n in zip(variances, counts, strict=True)]
    freedom = int(sum(variances) ** 2 / sum(terms)) if sum(terms) else 1
    if freedom <= len(QUANTILES):
        return QUANTILES[max(freedom, 1) - 1]
    return 1.96 + 2.7 / freedom
