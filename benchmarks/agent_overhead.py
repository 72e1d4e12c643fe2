"""What the agent adds to one run: by timing it, and by looking at the machine between values.

One interpreter runs short blocks in turns, bare and timed by the agent, so that a change of the
machine's speed or another program meets both alike; the ratio is taken within each pair of
neighbours, and its median is the result. The same for values right after a look at the machine and
values some runs later.

``EDGEPACK_MODELS=FOLDER python benchmarks/agent_overhead.py [--pairs N] [A.tflite ...]``
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import Limit, sample_model, save

from edgepack.agent.inputs import set_inputs
from edgepack.agent.machine import Watch
from edgepack.agent.model import Runtime
from edgepack.agent.timing import overhead_ns, runs_per_value, timed
from edgepack.measuring.interval import median_interval

MODELS = ("resnet8_int8.tflite", "dscnn_int8.tflite", "ae_int8.tflite", "hello_world_int8.tflite")
BLOCK_S = 0.004
"""Short enough that most blocks end before a scheduler takes the core away."""

LATER = 6
"""Values after a look until nothing is left of it in the caches."""

ONE_MS = (0.5, 2.0)
"""What counts as a model of 1 ms."""


def bare_block(invoke: Callable[[], Any], runs: int) -> float:
    """The time of one run in ns, where nothing but the runs lies between two looks at the clock."""
    start = time.perf_counter_ns()
    for _ in range(runs):
        invoke()
    return (time.perf_counter_ns() - start) / runs


def timed_block(invoke: Callable[[], Any], runs: int, per_value: int) -> float:
    """The same runs as the agent times them: the mean of its values, in ns for one run."""
    values = [timed(invoke, per_value) for _ in range(runs // per_value)]
    return sum(values) / runs


def after_looks(invoke: Callable[[], Any], per_value: int, pairs: int) -> list[float]:
    """The first value that the agent keeps after a look, by one some values later."""
    watch, ratios = Watch(), []
    for _ in range(pairs):
        watch.look()
        timed(invoke, per_value)
        first = timed(invoke, per_value)
        later = [timed(invoke, per_value) for _ in range(LATER)][-1]
        ratios.append(first / later)
    return ratios


def compare(path: Path, pairs: int) -> dict[str, Any]:
    """Blocks in turns; the order changes from pair to pair."""
    runtime = Runtime()
    interpreter = runtime.open(str(path))
    set_inputs(interpreter, None)
    invoke, per_value = interpreter.invoke, runs_per_value(interpreter.invoke)
    one_s = min(bare_block(invoke, per_value) for _ in range(50)) / 1e9
    runs = per_value * max(1, round(BLOCK_S / (per_value * one_s)))
    watch, bare, agent = Watch(), [], []
    for number in range(pairs):
        if number % 2:
            bare.append(bare_block(invoke, runs))
            agent.append(timed_block(invoke, runs, per_value))
        else:
            agent.append(timed_block(invoke, runs, per_value))
            bare.append(bare_block(invoke, runs))
    ratios = [a / b for a, b in zip(agent, bare, strict=True)]
    looks = after_looks(invoke, per_value, pairs)
    return {
        "model": path.name,
        "runtime": f"{runtime.name} {runtime.version}",
        "ratio": statistics.median(ratios),
        "ratio_interval": median_interval([ratios]),
        "look_ratio": statistics.median(looks),
        "look_ratio_interval": median_interval([looks]),
        "bare_ms": statistics.median(bare) / 1e6,
        "agent_ms": statistics.median(agent) / 1e6,
        "empty_timing_ms": overhead_ns(per_value) / 1e6,
        "runs_per_value": per_value,
        "runs_per_block": runs,
        "pairs": pairs,
        "other_cores": watch.other_cores(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--pairs", type=int, default=2000)
    options = parser.parse_args()
    models = options.models or [sample_model(name) for name in MODELS]
    results = [compare(path, options.pairs) for path in models]
    save(
        "agent_overhead", {"results": results}, HEADERS, [row(r) for r in results], limits(results)
    )


HEADERS = (
    "model",
    "bare loop ms",
    "agent ms",
    "ratio",
    "95 % interval",
    "after a look",
    "others' cores",
)


def limits(results: list[dict[str, Any]]) -> list[Limit]:
    """For models of about 1 ms."""
    found = [r for r in results if ONE_MS[0] <= r["bare_ms"] <= ONE_MS[1]]
    timing = [Limit(f"agent by bare loop, {r['model']}", r["ratio"], 1.01) for r in found]
    looks = [Limit(f"after a look by later, {r['model']}", r["look_ratio"], 1.01) for r in found]
    return timing + looks


def row(result: dict[str, Any]) -> tuple[str, ...]:
    low, high = result["ratio_interval"]
    return (
        result["model"],
        f"{result['bare_ms']:.5f}",
        f"{result['agent_ms']:.5f}",
        f"{result['ratio']:.4f}",
        f"{low:.4f} .. {high:.4f}",
        f"{result['look_ratio']:.4f}",
        f"{result['other_cores']:.2f}",
    )


if __name__ == "__main__":
    main()
