"""Whether a measurement can be believed, and if not, why and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgepack.measuring.measurement import Measurement
from edgepack.measuring.statistics import mad, median

STATES = ("valid", "degraded", "invalid")
"""From the best to the worst."""

FEW_RUNS, TOO_FEW_RUNS = 50, 10
WIDE, TOO_WIDE = 0.05, 0.25
OTHER_CORES = 0.15
FREQUENCY_CHANGE = 0.05
CLOCK_TICKS = 20
FIXED_GOVERNORS = frozenset({"performance", "userspace"})


@dataclass(frozen=True)
class Finding:
    """One reason to trust a measurement less.

    Attributes:
        code: the word for programs, such as ``other-load``.
        state: ``degraded`` or ``invalid``.
        message: what was seen, with its value.
        hint: what to do about it.
    """

    code: str
    state: str
    message: str
    hint: str


@dataclass(frozen=True)
class Verdict:
    """The worst state of all findings, and the findings."""

    state: str
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """State, codes and findings as plain data."""
        return {
            "state": self.state,
            "codes": [finding.code for finding in self.findings],
            "findings": [asdict(finding) for finding in self.findings],
        }


def judge(latency: Measurement) -> Verdict:
    """Judge the latencies of one or more processes by every rule."""
    found = tuple(finding for rule in RULES if (finding := rule(latency)))
    return Verdict(max((f.state for f in found), key=STATES.index, default="valid"), found)


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


def other_load(latency: Measurement) -> Finding | None:
    """Other programs that kept the CPU busy during the timed runs."""
    cores = max((c.get("other_cores") or 0.0 for c in latency.conditions), default=0.0)
    if cores <= OTHER_CORES:
        return None
    return Finding(
        "other-load",
        "degraded",
        f"other programs kept up to {cores:.2f} cores busy during the runs",
        "end other programs and measure again",
    )


def loose_governor(latency: Measurement) -> Finding | None:
    """A CPU governor, where it can be read, that changes the frequency by itself."""
    seen = {name for c in latency.conditions for name in c["after"].get("governors") or ()}
    if seen <= FIXED_GOVERNORS:
        return None
    return Finding(
        "governor-not-fixed",
        "degraded",
        f"the CPU governor is {', '.join(sorted(seen))}",
        "type on the device: echo performance | "
        "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def changed_frequency(latency: Measurement) -> Finding | None:
    """A CPU frequency, where it can be read, that moved between first and last timed run."""
    change = max((_frequency_change(c) for c in latency.conditions), default=0.0)
    if change <= FREQUENCY_CHANGE:
        return None
    return Finding(
        "frequency-changed",
        "degraded",
        f"the CPU frequency changed by {change:.0%} during the runs",
        "fix the CPU governor and let the device cool down",
    )


def _frequency_change(condition: Mapping[str, Any]) -> float:
    before, after = (condition[when].get("frequencies_khz") or [] for when in ("before", "after"))
    return max((abs(b - a) / max(a, b) for a, b in zip(before, after, strict=False)), default=0.0)


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


RULES = (
    few_runs,
    unsettled,
    wide_spread,
    unlike_processes,
    other_load,
    loose_governor,
    changed_frequency,
    coarse_clock,
)
