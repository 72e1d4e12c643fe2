"""What the times themselves say against a measurement."""

from __future__ import annotations

from edgepack.measuring.measurement import Measurement
from edgepack.measuring.statistics import mad, median
from edgepack.measuring.verdict import Finding

FEW_RUNS, TOO_FEW_RUNS = 50, 10
WIDE, TOO_WIDE = 0.05, 0.25
CLOCK_TICKS = 20
OVERHEAD = 0.01


def few_runs(latency: Measurement) -> Finding | None:
    """Fewer values than percentiles need."""
    count = len(latency.pooled)
    if count >= FEW_RUNS:
        return None
    state = "invalid" if count < TOO_FEW_RUNS else "degraded"
    return Finding(
        "too-few-runs",
        state,
        f"{count} timed runs; percentiles want {FEW_RUNS}",
        f"measure with --runs {FEW_RUNS} or more",
    )


def unsettled(latency: Measurement) -> Finding | None:
    """A process whose rolling median still moved when the warm-up ended."""
    count = sum(not c.get("warmup_settled", True) for c in latency.conditions)
    if not count:
        return None
    return Finding(
        "warmup-unsettled",
        "degraded",
        f"the warm-up never settled in {count} of {len(latency.conditions)} processes",
        "end other programs, fix the CPU governor, let the device cool down",
    )


def wide_spread(latency: Measurement) -> Finding | None:
    """Values of one process that lie far apart."""
    spread = max(mad(values) / median(values) for values in latency.values)
    return _wide(
        "spread-wide",
        spread,
        f"the median absolute deviation is {spread:.1%} of the median",
    )


def unlike_processes(latency: Measurement) -> Finding | None:
    """Processes whose medians lie apart."""
    medians = [median(values) for values in latency.values]
    spread = (max(medians) - min(medians)) / median(medians)
    return _wide("processes-differ", spread, f"the medians of the processes lie {spread:.1%} apart")


def _wide(code: str, spread: float, message: str) -> Finding | None:
    if spread <= WIDE:
        return None
    state = "invalid" if spread > TOO_WIDE else "degraded"
    return Finding(code, state, message, "end other programs and measure with more --seconds")


def coarse_clock(latency: Measurement) -> Finding | None:
    """A clock whose ticks are too long for one value."""
    seen = [c.get("clock_ticks_per_value", CLOCK_TICKS) for c in latency.conditions]
    ticks = min(seen, default=CLOCK_TICKS)
    if ticks >= CLOCK_TICKS:
        return None
    return Finding(
        "clock-too-coarse",
        "invalid",
        f"one timed value lasts only {ticks:.0f} ticks of the clock; it wants {CLOCK_TICKS}",
        "this device's clock cannot time this model",
    )


def costly_timing(latency: Measurement) -> Finding | None:
    """Timing that takes a part of the latency that could be seen."""
    middle = median(latency.pooled)
    overhead = max((c.get("overhead_ms", 0.0) for c in latency.conditions), default=0.0)
    if overhead <= OVERHEAD * middle:
        return None
    return Finding(
        "overhead-high",
        "degraded",
        f"timing adds {overhead * 1000:.3f} us to a run of {middle * 1000:.3f} us:"
        f" {overhead / middle:.1%}",
        "take no difference of this size for one of the model",
    )


RULES = (few_runs, unsettled, wide_spread, unlike_processes, coarse_clock, costly_timing)
