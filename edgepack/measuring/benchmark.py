"""What one benchmark found out about one model on one device, and its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgepack.errors import InputError
from edgepack.measuring.measurement import Measurement

SCHEMA_VERSION = 2
"""Of the JSON of benchmarks; docs/bench.md names its fields."""

FACTS = ("created", "model", "device", "settings", "board", "verdict", "correctness")
"""The fields of a `Benchmark` that are plain data."""


@dataclass(frozen=True)
class Benchmark:
    """All that was found out about one model on one device with one set of settings.

    Attributes:
        created: when it ended, in UTC: ``2026-11-22T15:04:05Z``.
        model: name, sha256 and size_bytes of the model file.
        device: name, target, transport and address of the device.
        settings: how it was measured: threads, delegate, runs, seconds, processes, ...
        measurements: latency, load, first_inference, shares of memory, single operators.
        board: what was found out about the board, by the name of each fact.
        verdict: whether it can be believed: state, codes and findings.
        correctness: how the board's outputs compare with the host's, and the metric there; empty
            where there was nothing to compare with.
    """

    created: str
    model: Mapping[str, Any]
    device: Mapping[str, Any]
    settings: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    board: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] = field(default_factory=dict)
    correctness: Mapping[str, Any] = field(default_factory=dict)

    def measurement(self, metric: str) -> Measurement:
        """The measurement of one metric; a KeyError where it was not measured."""
        return {m.metric: m for m in self.measurements}[metric]


def to_json(benchmarks: Iterable[Benchmark]) -> dict[str, Any]:
    """Plain data under the published schema: raw values, and statistics for the reader's ease."""
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmarks": [
            {
                **{name: _plain(getattr(benchmark, name)) for name in FACTS},
                "measurements": [
                    {**asdict(m), "summary": asdict(m.summary())} for m in benchmark.measurements
                ],
            }
            for benchmark in benchmarks
        ],
    }


def _plain(value: str | Mapping[str, Any]) -> Any:
    return value if isinstance(value, str) else dict(value)


def from_json(data: Mapping[str, Any]) -> tuple[Benchmark, ...]:
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
        return tuple(_benchmark(entry) for entry in data["benchmarks"])
    except (KeyError, TypeError) as error:
        raise InputError(f"the measurement is not whole: {error}") from error


def _benchmark(entry: Mapping[str, Any]) -> Benchmark:
    measurements = tuple(_measurement(m) for m in entry["measurements"])
    return Benchmark(measurements=measurements, **{name: entry[name] for name in FACTS})


def _measurement(entry: Mapping[str, Any]) -> Measurement:
    return Measurement(
        entry["metric"],
        entry["unit"],
        tuple(tuple(values) for values in entry["values"]),
        tuple(tuple(values) for values in entry["warmups"]),
        entry["environment"],
        tuple(entry["conditions"]),
    )
