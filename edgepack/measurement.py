"""What was measured: every raw value with its circumstances; all statistics are derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from edgepack.errors import InputError

SCHEMA_VERSION = 1
"""Of the JSON of a `Benchmark`; docs/bench.md names its fields."""

OUTLIER_Z = 10.0
"""Modified z-scores above this are outliers: |x - median| / MAD > 14.8."""

RESAMPLES = 1000
BLOCKS = 20


@dataclass(frozen=True)
class Summary:
    """Statistics of one measurement, in its unit.

    Attributes:
        count: of values.
        median: of all values.
        interval: 95 % bootstrap confidence interval of the median.
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


@dataclass(frozen=True)
class Benchmark:
    """All that one ``edgepack bench`` found out about one model on one device.

    Attributes:
        model: name, sha256 and size_bytes of the model file.
        device: name, target, transport and address of the device.
        settings: how it was measured: threads, runs, seconds, processes, ...
        measurements: latency, load, first_inference and the shares of memory.
    """

    model: Mapping[str, Any]
    device: Mapping[str, Any]
    settings: Mapping[str, Any]
    measurements: tuple[Measurement, ...]

    def measurement(self, metric: str) -> Measurement:
        """The measurement of one metric; a KeyError where it was not measured."""
        return {m.metric: m for m in self.measurements}[metric]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    return percentile(values, 50)


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile, linear between the nearest two values (definition 7 of Hyndman & Fan)."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def mad(values: Sequence[float]) -> float:
    """The median absolute deviation from the median, not scaled."""
    middle = median(values)
    return median([abs(value - middle) for value in values])


def outliers(values: Sequence[float]) -> list[int]:
    """Where values stand whose modified z-score is above `OUTLIER_Z`.

    The scale is MAD / 0.6745, or the mean absolute deviation / 0.7979 where more than half of the
    values are equal (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
    """
    middle = median(values)
    distances = [abs(value - middle) for value in values]
    scale = median(distances) / 0.6745 or sum(distances) / len(distances) / 0.7979
    return [i for i, distance in enumerate(distances) if distance > OUTLIER_Z * scale]


def median_interval(processes: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap confidence interval of the median of all values.

    Processes are drawn with replacement, then blocks of consecutive values within each, because
    neighbours in time resemble one another and processes differ (Kalibera and Jones, Rigorous
    Benchmarking in Reasonable Time, ISMM 2013; Kuensch, The Jackknife and the Bootstrap, 1989).
    """
    import numpy as np

    random = np.random.default_rng(seed)
    blocks = [np.array_split(np.asarray(p, float), min(BLOCKS, len(p))) for p in processes]
    values = np.concatenate([block for process in blocks for block in process])
    sizes = [len(block) for process in blocks for block in process]
    order = np.argsort(values, kind="stable")
    block_of = np.repeat(np.arange(len(sizes)), sizes)[order]
    counts = _drawn_blocks([len(process) for process in blocks], random)
    medians = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        weights = np.cumsum(counts[i][block_of])
        medians[i] = values[order[np.searchsorted(weights, weights[-1] / 2)]]
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _drawn_blocks(blocks_per_process: list[int], random: Any) -> Any:
    """How often each resample draws each block: [RESAMPLES, blocks]."""
    import numpy as np

    processes = len(blocks_per_process)
    times = random.multinomial(processes, [1 / processes] * processes, RESAMPLES)
    drawn = [
        random.multinomial(times[:, i] * count, [1 / count] * count)
        for i, count in enumerate(blocks_per_process)
    ]
    return np.concatenate(drawn, axis=1)


def merge(parts: Sequence[Measurement]) -> Measurement:
    """One measurement of several processes out of those of one process each.

    Raises:
        InputError: if their environments differ: unlike runs are not mixed.
    """
    first = parts[0]
    for part in parts[1:]:
        for key in first.environment.keys() | part.environment.keys():
            here, there = first.environment.get(key), part.environment.get(key)
            if here != there:
                raise InputError(f"unlike runs of {first.metric}: {key} is {here!r} and {there!r}")
    return Measurement(
        first.metric,
        first.unit,
        tuple(values for part in parts for values in part.values),
        tuple(values for part in parts for values in part.warmups),
        first.environment,
        tuple(condition for part in parts for condition in part.conditions),
    )


def to_json(benchmark: Benchmark) -> dict[str, Any]:
    """Plain data under the published schema: raw values, and statistics for the reader's ease."""
    return {
        "schema_version": SCHEMA_VERSION,
        **{f.name: dict(getattr(benchmark, f.name)) for f in fields(Benchmark)[:-1]},
        "measurements": [
            {**asdict(m), "summary": asdict(m.summary())} for m in benchmark.measurements
        ],
    }


def from_json(data: Mapping[str, Any]) -> Benchmark:
    """Read what `to_json` made; statistics are derived again.

    Raises:
        InputError: if the schema version is another one, or a field is missing.
    """
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"the measurement has schema version {version!r}, not {SCHEMA_VERSION}",
            "measure again with this version of edgepack",
        )
    try:
        measurements = tuple(_measurement_from_json(entry) for entry in data["measurements"])
        return Benchmark(data["model"], data["device"], data["settings"], measurements)
    except (KeyError, TypeError) as error:
        raise InputError(f"the measurement is not whole: {error}") from error


def _measurement_from_json(entry: Mapping[str, Any]) -> Measurement:
    return Measurement(
        entry["metric"],
        entry["unit"],
        tuple(tuple(values) for values in entry["values"]),
        tuple(tuple(values) for values in entry["warmups"]),
        entry["environment"],
        tuple(entry["conditions"]),
    )
