"""The ratio of two medians, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgepack.measuring.interval import Processes, Spread, quantile, spread
from edgepack.measuring.statistics import median


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

    The interval is Student's, about the logarithm, with the variances of both sides (`spread`) and
    the degrees of freedom of Welch and Satterthwaite.

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
    spreads = (spread(a, seed, logarithmic=True), spread(b, seed + 1, logarithmic=True))
    value = median([v for process in b for v in process]) / median([v for p in a for v in p])
    half = quantile(_freedom(spreads)) * math.sqrt(sum(s.variance for s in spreads))
    return Ratio(value, value * math.exp(-half), value * math.exp(half))


def _freedom(spreads: tuple[Spread, Spread]) -> int:
    """The degrees of freedom of a difference, rounded down."""
    total = sum(s.variance for s in spreads)
    terms = sum(s.variance**2 / s.freedom for s in spreads)
    return max(int(total**2 / terms), 1) if terms else 1
