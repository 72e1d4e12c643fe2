"""What the state of the machine says against a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from edgepack.measuring.measurement import Measurement
from edgepack.measuring.verdict import Finding

OTHER_CORES = 0.15
FREQUENCY_CHANGE = 0.05
FIXED_GOVERNORS = frozenset({"performance", "userspace"})

THROTTLES_C = 80.0
"""Where a Raspberry Pi begins to throttle, and other boards not far from there."""

THROTTLES_X86_C = 95.0
TOO_NEAR_C = 5.0

BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Of ``vcgencmd get_throttled``; 16 bits higher the same at some time before (Raspberry Pi
documentation, config and OS)."""

SINCE = 16
FIRST = ("start", "before")

COOL = "let the device cool down, in open air, with a heat sink or a fan, and measure again"


def states(condition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """How the machine was doing, from the start of a process to its end."""
    named = ("start", "before", "after")
    start, before, after = ([condition[name]] if name in condition else [] for name in named)
    yield from (*start, *before, *condition.get("during", ()), *after)


def throttled(latency: Measurement) -> Finding | None:
    """A Raspberry Pi that was throttled, or short of voltage, while it measured."""
    bits = 0
    for condition in latency.conditions:
        seen = [s["throttled"] for s in states(condition) if s.get("throttled") is not None]
        for now in seen:
            bits |= now
        # What was so before the process began is no fault of this run.
        bits &= (1 << SINCE) - 1
        for earlier, later in pairwise(seen):
            bits |= (later & ~earlier) >> SINCE
    words = [word for bit, word in BITS.items() if bits >> bit & 1]
    if not words:
        return None
    return Finding(
        "throttled",
        "invalid",
        f"the device reported during the run: {', '.join(words)}",
        "use a power supply made for the board" if bits & 1 else COOL,
    )


def throttling_unknown(latency: Measurement) -> Finding | None:
    """Throttle bits that were set before, and that nobody could read during the runs.

    Only a bit that is not set yet tells at the end of a process what happened since its start.
    """
    bits = 0
    for condition in latency.conditions:
        first = [condition[name].get("throttled") for name in FIRST if name in condition]
        looks = [look.get("throttled") for look in condition.get("during", ())]
        if all(look is None for look in looks):
            bits |= next((now for now in first if now is not None), 0) >> SINCE
    words = [word for bit, word in BITS.items() if bits >> bit & 1]
    if not words or throttled(latency):
        return None
    return Finding(
        "throttling-unknown",
        "degraded",
        f"the device reported before the runs: {', '.join(words)}; whether it happened again"
        " cannot be told, because it does not say so during the runs",
        "restart the device, which forgets that, and measure again: sudo reboot",
    )


def too_hot(latency: Measurement) -> Finding | None:
    """A device that was near its limit before it had anything to do."""
    limit = _limit_c(latency)
    first = [next(states(c), {}) for c in latency.conditions]
    hottest = max((max(s.get("temperatures_c") or [0.0]) for s in first), default=0.0)
    if hottest < limit - TOO_NEAR_C:
        return None
    return Finding(
        "too-hot",
        "invalid" if hottest >= limit else "degraded",
        f"the device began at {hottest:.1f} degrees C; it throttles from {limit:g}",
        COOL,
    )


def heated(latency: Measurement) -> Finding | None:
    """A device that grew so hot that it throttles."""
    limit = _limit_c(latency)
    rises = [
        [max(s["temperatures_c"]) for s in states(c) if s.get("temperatures_c")]
        for c in latency.conditions
    ]
    hottest = max((max(r) for r in rises if r and r[0] < limit), default=0.0)
    if hottest < limit:
        return None
    return Finding(
        "temperature-high",
        "degraded",
        f"the device reached {hottest:.1f} degrees C; it throttles from {limit:g}",
        COOL,
    )


def begins_below_c(machine: str) -> float:
    """How hot a device may be, in degrees Celsius, so that it does not throttle at once."""
    return throttles_c(machine) - 2 * TOO_NEAR_C


def throttles_c(machine: str) -> float:
    """Where a device begins to throttle, in degrees Celsius, by its architecture."""
    return THROTTLES_X86_C if machine in ("x86_64", "AMD64") else THROTTLES_C


def _limit_c(latency: Measurement) -> float:
    return throttles_c(str(latency.environment.get("machine")))


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
    """Of the fastest core, which is the one that works; before the warm-up it may have slept."""
    timed = states({name: condition[name] for name in condition if name != "start"})
    seen = [max(s["frequencies_khz"]) for s in timed if s.get("frequencies_khz")]
    return 1 - min(seen) / max(seen) if seen else 0.0


def loose_governor(latency: Measurement) -> Finding | None:
    """A CPU governor, where it can be read, that changes the frequency by itself."""
    seen = {g for c in latency.conditions for s in states(c) for g in s.get("governors") or ()}
    if seen <= FIXED_GOVERNORS:
        return None
    return Finding(
        "governor-not-fixed",
        "degraded",
        f"the CPU governor is {', '.join(sorted(seen))}",
        "type on the device: echo performance | "
        "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


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


def replaced_model(latency: Measurement) -> Finding | None:
    """A model file that was another one at some time."""
    seen = model_digests(latency)
    return _replaced(seen) if len(seen) > 1 else None


def foreign_model(latency: Measurement, sha256: str) -> Finding | None:
    """A model file that was another one than the host's all the time."""
    seen = model_digests(latency)
    return _replaced([sha256, *seen]) if len(seen) == 1 and seen != [sha256] else None


def model_digests(latency: Measurement) -> list[str]:
    """Of the model file on the device, at the start and at the end of each process, each once."""
    return sorted({digest for c in latency.conditions for digest in c.get("model_sha256", ())})


def _replaced(digests: list[str]) -> Finding:
    return Finding(
        "model-replaced",
        "invalid",
        f"the model file changed on the device: {' and '.join(d[:12] for d in digests)}",
        "measure again, and let nobody write to edgepack's folder there meanwhile",
    )


RULES = (
    throttled,
    throttling_unknown,
    too_hot,
    heated,
    changed_frequency,
    loose_governor,
    other_load,
    replaced_model,
)
