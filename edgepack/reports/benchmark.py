"""What ``edgepack bench`` prints: facts, statistics, the verdict, and how the outputs compare."""

from __future__ import annotations

from collections.abc import Sequence

from edgepack import table
from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.measurement import Measurement
from edgepack.table import number, printable_lines

HEADERS = ("measured", "unit", "median", "95 % interval", "MAD", "p90", "p95", "p99", "min", "max")
SUMMARY = ("device", "model", "threads", "delegate", "median ms", "95 % interval", "peak KiB")
OPERATOR = "operator "
SLOWEST = 15
"""How many operators the table shows; JSON has all."""

FEW = 10
"""Of fewer values than these only median, smallest and largest mean anything."""


def render(benchmarks: Sequence[Benchmark]) -> str:
    """Each benchmark in full, and a table of all where there are several.

    Much of it are words of the device, which may be anything.
    """
    parts = [render_one(benchmark) for benchmark in benchmarks]
    parts += [overview(benchmarks)] if len(benchmarks) > 1 else []
    return printable_lines("\n\n".join(parts))


def render_one(benchmark: Benchmark) -> str:
    """Facts, statistics, outputs and verdict of one benchmark."""
    whole = [m for m in benchmark.measurements if not m.metric.startswith(OPERATOR)]
    parts = [
        table.render(facts(benchmark)),
        table.render([row(m) for m in whole], (*HEADERS, "n"), "ll" + "r" * 9),
        *operators(benchmark),
        *correctness(benchmark),
        verdict(benchmark),
    ]
    return "\n\n".join(parts)


def facts(benchmark: Benchmark) -> list[tuple[str, str]]:
    """What was measured, where and how, in words."""
    model, device = benchmark.model, benchmark.device
    seen = benchmark.measurement("latency").environment
    threads = f"{seen['threads']} thread{'s' if seen['threads'] > 1 else ''}"
    return [
        ("model", f"{model['name']}, {model['size_bytes']:,} bytes, {seen['inputs']} inputs"),
        ("device", f"{device['name']} ({device['target'] or 'unknown target'}), {seen['cpu']}"),
        (
            "runtime",
            f"{seen['runtime']} {seen['runtime_version']}, {seen['delegate']}, {threads}",
        ),
        *(("note", note) for note in device.get("notes", ())),
    ]


def row(measurement: Measurement) -> list[str]:
    """One line of the table; statistics only of as many values as they need."""
    s = measurement.summary()
    few, single = s.count < FEW, s.count == 1
    spread = (interval(measurement), *map(number, (s.mad, s.p90, s.p95, s.p99)))
    return [
        measurement.metric.replace("_", " "),
        measurement.unit,
        number(s.median),
        *(("",) * 5 if few else spread),
        *(("",) * 2 if single else (number(s.minimum), number(s.maximum))),
        str(s.count),
    ]


def interval(measurement: Measurement) -> str:
    """The 95 % interval of the median."""
    low, high = measurement.summary().interval
    return f"{number(low)} .. {number(high)}"


def operators(benchmark: Benchmark) -> list[str]:
    """The slowest operators and their share of all; nothing where none were timed."""
    timed = {
        m.metric.removeprefix(OPERATOR): m.summary().median
        for m in benchmark.measurements
        if m.metric.startswith(OPERATOR)
    }
    total = sum(timed.values()) or 1.0
    slowest = sorted(timed.items(), key=lambda item: -item[1])[:SLOWEST]
    rows = [[name, number(ms), f"{ms / total:.1%}"] for name, ms in slowest]
    left = [f"and {len(timed) - SLOWEST} faster ones"] if len(timed) > SLOWEST else []
    headers = ("operator", "median ms", "share")
    return ["\n".join([table.render(rows, headers, "lrr"), *left])] if rows else []


def correctness(benchmark: Benchmark) -> list[str]:
    """How the device's outputs compare with the host's; nothing where nothing was compared."""
    lines = []
    if golden := benchmark.correctness.get("golden"):
        worst = max(o["max_difference"] for o in golden["outputs"].values())
        how = "bit for bit" if golden["state"] == "exact" else f"largest difference {worst:.3g}"
        lines.append(f"outputs: {golden['state']} on {golden['samples']} golden inputs, {how}")
    if tried := benchmark.correctness.get("evaluation"):
        lines.append(
            f"{tried['metric']}: {tried['device']:.4f} on the device, {tried['host']:.4f} on the"
            f" host, {tried['samples']} test samples"
        )
    return ["\n".join(lines)] if lines else []


def verdict(benchmark: Benchmark) -> str:
    """The state and every finding with what to do."""
    lines = [f"verdict: {benchmark.verdict['state']}"]
    for finding in benchmark.verdict["findings"]:
        lines.append(f"  {finding['code']}: {finding['message']}\n    -> {finding['hint']}")
    return "\n".join(lines)


def overview(benchmarks: Sequence[Benchmark]) -> str:
    """One line for each benchmark."""
    rows = []
    for b in benchmarks:
        latency, peak = b.measurement("latency"), b.measurement("peak_memory")
        rows.append(
            [
                str(b.device["name"]),
                str(b.model["name"]),
                str(b.settings["threads"]),
                str(b.settings["delegate"]),
                number(latency.summary().median),
                interval(latency),
                number(peak.summary().median),
                str(b.verdict["state"]),
            ]
        )
    return table.render(rows, (*SUMMARY, "verdict"), "llrlrrrl")
