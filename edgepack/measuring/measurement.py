"""What was measured: every raw value with its circumstances; all statistics are derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgepack.errors import DeviceError
from edgepack.measuring.interval import median_interval
from edgepack.measuring.statistics import mad, median, outliers, percentile


@dataclass(frozen=True)
class Summary:
    """Statistics of one measurement, in its unit.

    Attributes:
        count: of values.
        median: of all values.
        interval: 95 % confidence interval of the median.
        mad: median absolute deviation from the median.
        p90: 90th percentile; p95 and p99 likewise.
        minimum: the smallest value.
        maximum: the largest value.
        outliers: where the outliers stand among all values; they are part of every statistic.
    """

    count: int
    median: float
    interval: tuple[float, float]
    mad: float
    p90: float
    p95: float
    p99: float
    minimum: float
    maximum: float
    outliers: tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """One quantity, measured in one or more processes.

    Attributes:
        metric: what was measured, such as ``latency`` or ``peak_memory``.
        unit: of every value: ``ms`` or ``KiB``.
        values: every raw value in the order of time, a tuple for each process.
        warmups: the values before the run had settled, a tuple for each process.
        environment: what must be equal before two measurements may be compared.
        conditions: what could change from process to process, a mapping for each.
    """

    metric: str
    unit: str
    values: tuple[tuple[float, ...], ...]
    warmups: tuple[tuple[float, ...], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[Mapping[str, Any], ...] = ()

    @property
    def pooled(self) -> list[float]:
        """The values of all processes, one after the other."""
        return [value for process in self.values for value in process]

    def summary(self) -> Summary:
        """Derive the statistics; no value is left out of them."""
        pooled = self.pooled
        middle, deviation = median(pooled), mad(pooled)
        return Summary(
            count=len(pooled),
            median=middle,
            interval=median_interval(self.values),
            mad=deviation,
            **{f"p{p}": percentile(pooled, p) for p in (90, 95, 99)},
            minimum=min(pooled),
            maximum=max(pooled),
            outliers=tuple(outliers(pooled)),
        )


def merge(parts: Sequence[Measurement]) -> Measurement:
    """One measurement of several processes out of those of one process each.

    Raises:
        DeviceError: if their environments differ: unlike runs are not mixed.
    """
    first = parts[0]
    for part in parts[1:]:
        for key in first.environment.keys() | part.environment.keys():
            here, there = first.environment.get(key), part.environment.get(key)
            if here != there:
                raise DeviceError(
                    f"the device changed between two processes: {key} is {here!r} and {there!r}",
                    "let nobody update or restart it meanwhile, and measure again",
                )
    return Measurement(
        first.metric,
        first.unit,
        tuple(values for part in parts for values in part.values),
        tuple(values for part in parts for values in part.warmups),
        first.environment,
        tuple(condition for part in parts for condition in part.conditions),
    )
