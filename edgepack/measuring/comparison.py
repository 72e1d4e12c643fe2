"""Compares the benchmarks of two documents, and says what became slower or larger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.comparability import JUDGED, Difference, differences, pair, side_notes
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.ratio import Ratio, median_ratio
from edgepack.measuring.statistics import median

TOLERANCE = 0.05
MEMORY_NOISE_KIB = 512.0
"""Resident memory of equal processes was seen to differ by up to 196 KiB (96 processes, 4 models);
a kernel counts it for each CPU in lots of 32 pages or more."""

SHOWN = ("load", "first_inference")
"""Metrics that are shown beside `JUDGED`: they depend on what the system's cache holds."""

MISSING = "missing"
"""What may be allowed beside facts: a benchmark of the first without one in the second."""

NOT_COMPARABLE, REGRESSION, UNJUDGED = "not-comparable", "regression", "unjudged"
OUTCOMES = (NOT_COMPARABLE, REGRESSION, UNJUDGED, "unclear", "improvement", "unchanged", "shown")
"""From what matters most to what matters least."""


@dataclass(frozen=True)
class Change:
    """One metric in two benchmarks.

    Attributes:
        metric: its name.
        unit: of ``a`` and ``b``.
        a: the median in the first.
        b: the median in the second.
        ratio: b / a; None where a is 0.
        interval: the 95 % confidence interval of the ratio; None where it is not known.
        outcome: one of `OUTCOMES`.
        reason: what decided, where the interval did not.
    """

    metric: str
    unit: str
    a: float
    b: float
    ratio: float | None
    interval: tuple[float, float] | None
    outcome: str
    reason: str = ""

    @property
    def significant(self) -> bool | None:
        """Whether the interval leaves out 1; None without one."""
        return None if self.interval is None else not self.interval[0] <= 1 <= self.interval[1]


@dataclass(frozen=True)
class Comparison:
    """Two benchmarks.

    Attributes:
        a: the first.
        b: the second.
        refused: facts that differ and must not.
        allowed: facts that differ and may.
        noted: what else differs.
        invalid: why the measurements cannot be believed.
        warnings: why they are to be taken with care.
        changes: metric by metric; empty where they must not be compared.
    """

    a: Benchmark
    b: Benchmark
    refused: tuple[Difference, ...]
    allowed: tuple[Difference, ...]
    noted: tuple[Difference, ...]
    invalid: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def outcome(self) -> str:
        """The one of all metrics that matters most."""
        if self.refused:
            return NOT_COMPARABLE
        judged = [change.outcome for change in self.changes if change.metric in JUDGED]
        return min(judged, key=OUTCOMES.index, default=UNJUDGED)


@dataclass(frozen=True)
class Diff:
    """Two documents.

    Attributes:
        tolerance: the change of a median that does not matter, as a share.
        comparisons: of the benchmarks that both have.
        only_a: benchmarks that only the first has.
        only_b: benchmarks that only the second has.
        missing: those of ``only_a``, unless a counterpart may be missing.
    """

    tolerance: float
    comparisons: tuple[Comparison, ...]
    only_a: tuple[Benchmark, ...] = ()
    only_b: tuple[Benchmark, ...] = ()
    missing: tuple[Benchmark, ...] = ()

    @property
    def outcome(self) -> str:
        """The one of all comparisons that matters most."""
        found = [comparison.outcome for comparison in self.comparisons]
        found += [UNJUDGED for _ in self.missing if found]
        return min(found, key=OUTCOMES.index, default=NOT_COMPARABLE)


def diff(
    a: Sequence[Benchmark],
    b: Sequence[Benchmark],
    tolerance: float = TOLERANCE,
    allow: Collection[str] = (),
) -> Diff:
    """Compare the benchmarks of two documents.

    Args:
        a: of the first.
        b: of the second.
        tolerance: the change of a median that does not matter, as a share.
        allow: facts of `edgepack.measuring.comparability.FACTS` that may differ, and `MISSING`
            where the second may lack what the first has.
    """
    pairs, only_a, only_b = pair(a, b, allow)
    found = tuple(compare(*both, tolerance, allow) for both in pairs)
    missing = () if MISSING in allow else tuple(only_a)
    return Diff(tolerance, found, tuple(only_a), tuple(only_b), missing)


def compare(
    a: Benchmark, b: Benchmark, tolerance: float = TOLERANCE, allow: Collection[str] = ()
) -> Comparison:
    """Compare two benchmarks, where they are comparable and can be believed."""
    unlike = differences(a, b)
    refused = tuple(d for d in unlike if d.fact not in allow)
    changes = () if refused else _changes(a, b, tolerance)
    invalid = tuple(_doubts(a, b, "invalid"))
    if invalid:
        changes = ()
    return Comparison(
        a,
        b,
        refused,
        tuple(d for d in unlike if d.fact in allow),
        tuple(side_notes(a, b)),
        invalid,
        (*_doubts(a, b, "degraded"), *_gaps(a, b)),
        changes,
    )


def _doubts(a: Benchmark, b: Benchmark, state: str) -> list[str]:
    return [
        f"{name} is {state}: {', '.join(benchmark.verdict['codes'])}"
        for name, benchmark in (("A", a), ("B", b))
        if benchmark.verdict["state"] == state
    ]


def _metrics(benchmark: Benchmark) -> Mapping[str, Measurement]:
    return {m.metric: m for m in benchmark.measurements}


def _gaps(a: Benchmark, b: Benchmark) -> list[str]:
    """Metrics that only one of the two has."""
    sides = (("A", _metrics(a), _metrics(b)), ("B", _metrics(b), _metrics(a)))
    return [
        f"only {name} has {metric}"
        for name, own, other in sides
        for metric in JUDGED
        if metric in own and metric not in other
    ]


def _changes(a: Benchmark, b: Benchmark, tolerance: float) -> tuple[Change, ...]:
    before, after = _metrics(a), _metrics(b)
    shared = [metric for metric in (*JUDGED, *SHOWN) if metric in before and metric in after]
    return tuple(judge_change(before[m], after[m], tolerance) for m in shared)


def judge_change(a: Measurement, b: Measurement, tolerance: float = TOLERANCE) -> Change:
    """Compare one metric.

    A regression is a ratio whose interval lies above 1 and that itself is above the tolerance. Of
    memory there may be one value only; then the ratio decides, and a difference of less than
    `MEMORY_NOISE_KIB` is none.
    """
    before, after = median(a.pooled), median(b.pooled)
    judged = a.metric in JUDGED
    found = median_ratio(a.values, b.values) if judged else None
    outcome, reason = _judge(a, b, found, tolerance) if judged else ("shown", "")
    return Change(
        a.metric,
        a.unit,
        before,
        after,
        after / before if before else None,
        (found.low, found.high) if found else None,
        outcome,
        reason,
    )


def _judge(
    a: Measurement, b: Measurement, ratio: Ratio | None, tolerance: float
) -> tuple[str, str]:
    """The outcome and what decided it, where the interval did not."""
    before, after = median(a.pooled), median(b.pooled)
    if a.unit == "KiB" and abs(after - before) < MEMORY_NOISE_KIB:
        return "unchanged", f"less than {MEMORY_NOISE_KIB:.0f} KiB apart"
    if ratio:
        return _judge_interval(ratio, 1 + tolerance), ""
    if a.unit != "KiB":
        return UNJUDGED, "one process tells nothing of how processes differ"
    if after > before * (1 + tolerance):
        return REGRESSION, "by one value each"
    improved = after * (1 + tolerance) < before
    return "improvement" if improved else "unchanged", "by one value each"


def _judge_interval(ratio: Ratio, most: float) -> str:
    if ratio.low > 1 and ratio.value > most:
        return REGRESSION
    if ratio.high < 1 and ratio.value < 1 / most:
        return "improvement"
    return "unchanged" if 1 / most <= ratio.low and ratio.high <= most else "unclear"


def to_json(found: Diff) -> dict[str, Any]:
    """Plain data of a comparison, without raw values."""
    return {
        "outcome": found.outcome,
        "tolerance": found.tolerance,
        "comparisons": [_comparison_json(comparison) for comparison in found.comparisons],
        "only_a": [identity(benchmark) for benchmark in found.only_a],
        "only_b": [identity(benchmark) for benchmark in found.only_b],
        "missing": [identity(benchmark) for benchmark in found.missing],
    }


def identity(benchmark: Benchmark) -> dict[str, Any]:
    """What tells a benchmark from others."""
    return {
        "created": benchmark.created,
        "model": benchmark.model["name"],
        "sha256": benchmark.model["sha256"],
        "device": benchmark.device["name"],
        "threads": benchmark.settings["threads"],
        "delegate": benchmark.settings["delegate"],
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    unlike = {name: getattr(comparison, name) for name in ("refused", "allowed", "noted")}
    return {
        "outcome": comparison.outcome,
        "a": identity(comparison.a),
        "b": identity(comparison.b),
        **{name: [asdict(difference) for difference in rows] for name, rows in unlike.items()},
        "invalid": list(comparison.invalid),
        "warnings": list(comparison.warnings),
        "changes": [{**asdict(c), "significant": c.significant} for c in comparison.changes],
    }
