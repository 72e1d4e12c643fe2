"""What one benchmark found out about one model on one device, and its JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgepack.errors import InputError
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.reading import Node, read_json
from edgepack.measuring.validity import STATES

SCHEMA_VERSION = 2
"""Of the JSON of benchmarks; it grows whenever a reader would have to change."""

SCHEMA = Path(__file__).with_name(f"schema-{SCHEMA_VERSION}.json")
"""The JSON Schema of what `to_json` makes."""

FACTS = ("created", "model", "device", "settings", "board", "verdict", "correctness")
"""The fields of a `Benchmark` that are plain data."""

CREATED = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
UNITS = ("ms", "KiB")


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

    @property
    def title(self) -> str:
        """What was measured, where and how, such as ``net.tflite on pi, 4 threads, xnnpack``."""
        threads = self.settings["threads"]
        words = f"{threads} thread{'s' if threads > 1 else ''}, {self.settings['delegate']}"
        return f"{self.model['name']} on {self.device['name']}, {words}"

    def measurement(self, metric: str) -> Measurement:
        """The measurement of one metric; a KeyError where it was not measured."""
        return {m.metric: m for m in self.measurements}[metric]


def to_json(benchmarks: Iterable[Benchmark]) -> dict[str, Any]:
    """Plain data under the published schema: raw values, and statistics for the reader's ease.

    A number that JSON does not know, such as the difference from an output that is NaN, is null.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmarks": [
            {
                **{name: _plain(getattr(benchmark, name)) for name in FACTS},
                "measurements": [
                    _plain({**asdict(m), "summary": asdict(m.summary())})
                    for m in benchmark.measurements
                ],
            }
            for benchmark in benchmarks
        ],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def read_benchmarks(path: Path) -> tuple[Benchmark, ...]:
    """The benchmarks of a file.

    Raises:
        InputError: if it cannot be read or holds something else.
    """
    try:
        return from_json(read_json(path))
    except InputError as error:
        if str(path) in error.message:
            raise
        raise InputError(f"{path} holds {error.message}", error.hint) from error


def from_json(data: Any) -> tuple[Benchmark, ...]:
    """Read what `to_json` made; statistics are derived again.

    Raises:
        InputError: if the schema version is another one, a field is missing, or a value cannot be.
    """
    document = Node(data)
    version = document.field("schema_version").value
    if type(version) is not int or version != SCHEMA_VERSION:
        raise InputError(
            f"a measurement of schema version {version!r}, not {SCHEMA_VERSION}",
            "measure again with this version of edgepack",
        )
    return tuple(_benchmark(entry) for entry in document.field("benchmarks").elements())


def _benchmark(entry: Node) -> Benchmark:
    _check_facts(entry)
    measurements = tuple(_measurement(m) for m in entry.field("measurements").elements())
    names = [measurement.metric for measurement in measurements]
    if len(set(names)) < len(names):
        entry.field("measurements").refuse("measurements of different metrics")
    created = entry.field("created").text(CREATED, "a time such as 2026-11-22T15:04:05Z")
    facts = {name: entry.field(name).plain() for name in FACTS if name != "created"}
    return Benchmark(created=created, measurements=measurements, **facts)


def _check_facts(entry: Node) -> None:
    """Look at those fields of a benchmark that a reader counts on."""
    model, device, settings = (entry.field(name) for name in ("model", "device", "settings"))
    model.field("name").text()
    model.field("sha256").text("[0-9a-f]{64}", "64 hexadecimal digits")
    model.field("size_bytes").whole(0)
    for name in ("name", "target", "transport", "address"):
        device.field(name).text()
    settings.field("threads").whole(1)
    settings.field("delegate").text()
    verdict = entry.field("verdict")
    verdict.field("state").word(STATES)
    for code in verdict.field("codes").elements(empty=True):
        code.text()
    for finding in verdict.field("findings").elements(empty=True):
        finding.field("state").word(STATES)
        for name in ("code", "message", "hint"):
            finding.field(name).text()


def _measurement(entry: Node) -> Measurement:
    values = tuple(process.numbers() for process in entry.field("values").elements())
    warmups = entry.field("warmups").elements(empty=True)
    conditions = entry.field("conditions").elements(empty=True)
    for node, found in (("warmups", warmups), ("conditions", conditions)):
        if len(found) not in (0, len(values)):
            entry.field(node).refuse(f"one entry for each of {len(values)} processes")
    return Measurement(
        entry.field("metric").text("(?s).+"),
        entry.field("unit").word(UNITS),
        values,
        tuple(process.numbers(empty=True) for process in warmups),
        entry.field("environment").plain(),
        tuple(_condition(condition) for condition in conditions),
    )


def _condition(entry: Node) -> dict[str, Any]:
    for when in ("before", "after"):
        if when in entry.plain():
            _check_governors(entry.field(when))
    return entry.plain()


def _check_governors(state: Node) -> None:
    if "governors" in state.plain():
        for governor in state.field("governors").elements(empty=True):
            governor.text()
