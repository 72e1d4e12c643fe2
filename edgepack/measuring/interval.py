"""How sure a median is: its 95 % confidence interval, from few processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.measuring.statistics import blocks_of, median, resampled_medians

QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Of Student's t at 97.5 %, for 1, 2, ... degrees of freedom."""

Processes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Spread:
    """How far a median would vary from session to session.

    Attributes:
        variance: of the median, or of its logarithm.
        freedom: the degrees of freedom of that.
    """

    variance: float
    freedom: int


def median_interval(processes: Processes, seed: int = 0) -> tuple[float, float]:
    """The 95 % confidence interval of the median of all values.

    It is Student's, about the logarithm of the median, or about the median itself where a value is
    not above 0. One value has no interval but itself.
    """
    middle = median([value for process in processes for value in process])
    logarithmic = min(min(process) for process in processes) > 0
    found = spread(processes, seed, logarithmic=logarithmic)
    half = quantile(found.freedom) * math.sqrt(found.variance)
    if logarithmic:
        return middle * math.exp(-half), middle * math.exp(half)
    return middle - half, middle + half


def spread(processes: Processes, seed: int, *, logarithmic: bool) -> Spread:
    """Of `resampled_medians`, times n / (n - 1) because a bootstrap of n misses so much.

    Processes are what n counts, or the blocks of one process, which tell nothing of how processes
    differ. The percentiles of the bootstrap alone are too narrow for three processes (Hesterberg,
    What Teachers Should Know About the Bootstrap, 2015): such an interval holds the true median in
    less than 85 cases of 100, and tells more than a fifth of all pairs of equal measurements apart
    (benchmarks/false_alarms.py).
    """
    import numpy as np

    count = len(processes) if len(processes) > 1 else blocks_of(processes[0])
    if count < 2:
        return Spread(0.0, 1)
    medians = resampled_medians(processes, seed)
    variance = float((np.log(medians) if logarithmic else medians).var())
    return Spread(variance * count / (count - 1), count - 1)


def quantile(freedom: int) -> float:
    """Student's t at 97.5 %, never below the true one."""
    return QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else 1.96 + 2.7 / freedom
