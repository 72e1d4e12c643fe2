"""What the agent adds to one run: its median against that of a bare loop around ``invoke``.

Agent and bare loop take turns in processes of their own, so that a change of the machine's speed
meets both; the ratio is taken within each pair. Type:
``python benchmarks/agent_overhead.py MODEL.tflite``
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgepack.bench import Settings, bench
from edgepack.measurement import Benchmark
from edgepack.reports.table import render

RESULT = Path(__file__).parent / "results" / "agent_overhead.json"

BARE = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(model_path=sys.argv[1], num_threads=1)
model.allocate_tensors()
for detail in model.get_input_details():
    model.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
def seconds(runs):
    start = time.perf_counter()
    for _ in range(runs):
        model.invoke()
    return time.perf_counter() - start
end = time.perf_counter() + 0.5
while time.perf_counter() < end:
    seconds(1)
runs = max(1, round(0.02 / seconds(1)))
blocks = [seconds(runs) / runs for _ in range(100)]
print(1e3 * sorted(blocks)[50])
"""
"""Blocks of 20 ms with nothing but ``invoke`` inside; the clock is read twice in a block."""


def bare_ms(model: Path) -> float:
    """The median time of one run in a bare loop."""
    command = [sys.executable, "-c", BARE, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def agent_benchmark(model: Path) -> Benchmark:
    """One process of the agent on the same model for the same 2 s."""
    return bench(model, settings=Settings(seconds=2.0, processes=1))


def compare(model: Path, pairs: int) -> dict[str, Any]:
    """Agent and bare loop in turns; the order changes from pair to pair."""
    rows = []
    for number in range(pairs):
        if number % 2:
            bare, found = bare_ms(model), agent_benchmark(model)
        else:
            found, bare = agent_benchmark(model), bare_ms(model)
        latency = found.measurement("latency")
        rows.append(
            {
                "bare_ms": bare,
                "agent_ms": latency.summary().median,
                "overhead_ms": found.measurement("overhead").pooled[0],
                "other_cores": latency.conditions[0]["other_cores"],
            }
        )
    agent = statistics.median(row["agent_ms"] for row in rows)
    overhead = statistics.median(row["overhead_ms"] for row in rows)
    return {
        "model": model.name,
        "ratio_median": statistics.median(row["agent_ms"] / row["bare_ms"] for row in rows),
        "overhead_share": overhead / agent,
        "agent_ms": agent,
        "bare_ms": statistics.median(row["bare_ms"] for row in rows),
        "overhead_ms": overhead,
        "pairs": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    results = [compare(model, options.pairs) for model in options.models]
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    rows = [
        (
            r["model"],
            f"{r['bare_ms']:.4f}",
            f"{r['agent_ms']:.4f}",
            f"{r['ratio_median']:.4f}",
            f"{r['overhead_ms']:.6f}",
            f"{r['overhead_share']:.4%}",
        )
        for r in results
    ]
    headers = ("model", "bare loop ms", "agent ms", "ratio", "timing ms", "timing share")
    print(render(rows, headers, "lrrrrr"))


if __name__ == "__main__":
    main()
