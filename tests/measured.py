"""Benchmarks as a device could have measured them, for tests that need no device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.measurement import Measurement

STATE: dict[str, Any] = {
    "load_average": 0.1,
    "governors": ["performance"],
    "frequencies_khz": [1_800_000],
    "temperatures_c": [48.7],
    "throttled": 0,
}
ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.2",
    "machine": "aarch64",
    "kernel": "6.12.47+rpt-rpi-v8",
    "cpu": "Raspberry Pi 4 Model B Rev 1.4",
    "cores": 4,
    "runtime": "ai-edge-litert",
    "runtime_version": "2.1.0",
    "delegate": "xnnpack",
    "threads": 1,
    "inputs": "golden",
}
VALID = {"state": "valid", "codes": [], "findings": []}


def verdict(state: str, code: str) -> dict[str, Any]:
    """A verdict with one finding."""
    finding = {"code": code, "state": state, "message": "what was seen", "hint": "what to do"}
    return {"state": state, "codes": [code], "findings": [finding]}


@functools.cache
def latencies(
    seed: int, middle: float = 10.0, processes: int = 3, spread: float = 0.005, count: int = 60
) -> tuple[tuple[float, ...], ...]:
    """Latencies in ms with what real ones show.

    Processes differ from one another, neighbours resemble one another, and some values are late.
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(processes):
        noise = random.normal(size=count)
        for i in range(1, count):
            noise[i] = 0.7 * noise[i - 1] + 0.7 * noise[i]
        late = (random.random(count) < 0.02) * random.exponential(0.5, count)
        values = middle * np.exp(random.normal(0, spread) + 0.01 * noise) * (1 + late)
        found.append(tuple(values.round(6).tolist()))
    return tuple(found)


def measurement(
    metric: str, unit: str, values: Sequence[Sequence[float]], **environment: Any
) -> Measurement:
    """A measurement in the usual environment."""
    condition = {"before": STATE, "after": STATE}
    return Measurement(
        metric,
        unit,
        tuple(map(tuple, values)),
        (),
        {**ENVIRONMENT, **environment},
        tuple(condition for _ in values),
    )


def benchmark(
    seed: int = 0,
    *,
    middle: float = 10.0,
    peak: float = 50_000.0,
    name: str = "net.tflite",
    content: str = "",
    device: str = "pi",
    created: str = "2026-11-22T15:04:05Z",
    values: Sequence[Sequence[float]] | None = None,
    judged: dict[str, Any] = VALID,
    **environment: Any,
) -> Benchmark:
    """One benchmark.

    Args:
        seed: of the noise of its latencies.
        middle: of its latencies, in ms.
        peak: memory, in KiB.
        name: of the model.
        content: of the model; its name where empty.
        device: its name.
        created: when.
        values: latencies in place of simulated ones.
        judged: the verdict.
        environment: what differs from `ENVIRONMENT`.
    """
    seen = {**ENVIRONMENT, **environment}
    digest = sha256((content or name).encode(errors="replace")).hexdigest()
    latency = measurement("latency", "ms", values or latencies(seed, middle), **environment)
    single = {"peak_memory": peak, "runtime_memory": 45_000.0, "model_memory": peak - 45_000}
    return Benchmark(
        created,
        {"name": name, "sha256": digest, "size_bytes": 99},
        {"name": device, "target": "rpi4", "transport": "ssh", "address": "pi@raspberrypi.local"},
        {"threads": seen["threads"], "delegate": seen["delegate"], "runs": 50, "seconds": 1.0},
        (latency, *(measurement(m, "KiB", [[v]], **environment) for m, v in single.items())),
        verdict=judged,
    )
