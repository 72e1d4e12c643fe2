"""What ``edgepack history`` prints: benchmarks over time, and how each series went on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack import table
from edgepack.measuring.comparability import environment
from edgepack.measuring.history import Entry
from edgepack.measuring.measurement import Summary
from edgepack.table import number, printable

HEADERS = ("id", "when", "device", "model", "sha256", "threads", "delegate", "runtime")
VALUES = ("latency, ms", "95 % interval", "verdict")
BARS = "▁▂▃▄▅▆▇█"
FLAT = 0.01
"""A series whose medians lie within this share is drawn as a level line."""

Row = dict[str, Any]


def facts(entry: Entry) -> Row:
    """What a table or a program wants to know of one benchmark."""
    benchmark, seen = entry.benchmark, environment(entry.benchmark)
    latency = _latency(entry)
    return {
        "id": entry.id,
        "title": benchmark.title,
        "created": benchmark.created,
        "device": benchmark.device["name"],
        "model": benchmark.model["name"],
        "sha256": benchmark.model["sha256"],
        "threads": benchmark.settings["threads"],
        "delegate": benchmark.settings["delegate"],
        "runtime": seen.get("runtime"),
        "runtime_version": seen.get("runtime_version"),
        "latency_ms": latency.median if latency else None,
        "interval_ms": list(latency.interval) if latency else None,
        "verdict": benchmark.verdict["state"],
        "codes": list(benchmark.verdict["codes"]),
        "path": str(entry.path),
    }


def _latency(entry: Entry) -> Summary | None:
    found = [m.summary() for m in entry.benchmark.measurements if m.metric == "latency"]
    return found[0] if found else None


def render(rows: Sequence[Row], *, bars: bool = True) -> str:
    """The table, the oldest first, and below it each series of more than one.

    Args:
        rows: what `facts` says of each benchmark.
        bars: whether the output can show block characters.
    """
    lines = table.render([_cells(row) for row in rows], (*HEADERS, *VALUES), "lllllrllrrl")
    series = [group for group in _series(rows) if len(group) > 1]
    return "\n\n".join([lines, *(["\n".join(_trend(g, bars) for g in series)] if series else [])])


def _cells(row: Row) -> list[str]:
    interval = row["interval_ms"]
    cells = [
        row["id"],
        row["created"],
        row["device"],
        row["model"],
        row["sha256"][:8],
        row["threads"],
        row["delegate"],
        f"{row['runtime']} {row['runtime_version']}",
        number(row["latency_ms"]) if interval else "",
        f"{number(interval[0])} .. {number(interval[1])}" if interval else "",
        row["verdict"],
    ]
    return [printable(cell) for cell in cells]


def _series(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each title; measurements that cannot be believed are no part of a series."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["latency_ms"] and row["verdict"] != "invalid":
            found.setdefault(row["title"], []).append(row)
    return list(found.values())


def _trend(rows: Sequence[Row], bars: bool) -> str:
    """One line: how the median of a series went on, and how far the last is from the first."""
    medians = [row["latency_ms"] for row in rows]
    first, last = medians[0], medians[-1]
    drawn = f"{sparkline(medians)}  " if bars else ""
    change = f"{number(first)} -> {number(last)} ms ({last / first - 1:+.1%})"
    return f"{printable(rows[0]['title'])}: {drawn}{change} over {len(rows)}"


def sparkline(values: Sequence[float]) -> str:
    """A block for each value, as high as it lies between the smallest and the largest."""
    low, high = min(values), max(values)
    if high - low <= FLAT * high:
        return BARS[len(BARS) // 2] * len(values)
    scale = (len(BARS) - 1) / (high - low)
    return "".join(BARS[round((value - low) * scale)] for value in values)
