"""Measures a TFLite model on the machine that it runs on and prints one JSON object.

With its neighbours a program of its own, for any device: standard library, numpy and a TFLite
runtime, Python 3.7 up.
A model or a runtime that fails is answered with ``{"error": {"kind": ..., "message": ...}}``.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from edgepack.agent.machine import Watch, identity, state, status_kib
from edgepack.agent.model import (
    RefusedError,
    first_run,
    load_runtime,
    open_model,
    read_golden,
    set_inputs,
)

SHORTEST_VALUE_NS = 50000
WINDOW_RUNS = 5
WINDOW_S = 0.1
WINDOWS = 3
SETTLED = 0.03
MEMORY_RUNS = 10


def main(argv: Optional[List[str]] = None) -> int:
    """Measure, print the answer, and return the exit code."""
    options = read_options(argv)
    measure = {"latency": latency, "memory": memory}[options.kind]
    try:
        answer = measure(options)
    except RefusedError as error:
        print(json.dumps({"error": {"kind": error.kind, "message": str(error)}}))
        return 1
    print(json.dumps(dict(answer, kind=options.kind), separators=(",", ":")))
    return 0


def read_options(argv: Optional[List[str]]) -> argparse.Namespace:
    """The options of one process of measuring."""
    parser = argparse.ArgumentParser(description="Measure a TFLite model on this machine.")
    parser.add_argument("kind", choices=["latency", "memory"])
    parser.add_argument("model", help=".tflite file")
    parser.add_argument("--golden", help=".npz file with arrays input.NAME; else random inputs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50, help="fewest timed runs")
    parser.add_argument("--seconds", type=float, default=1.0, help="shortest time of timed runs")
    parser.add_argument("--warmup-s", type=float, default=5.0, help="longest warm-up")
    return parser.parse_args(argv)


def latency(options: argparse.Namespace) -> Dict[str, Any]:
    """Load, first inference, warm-up and timed runs of one process, in ns."""
    name, version, interpreter_class = load_runtime()
    golden = read_golden(options.golden)
    start = time.perf_counter_ns()
    interpreter = open_model(interpreter_class, options.model, options.threads)
    load_ns = time.perf_counter_ns() - start
    set_inputs(interpreter, golden)
    gc.disable()
    first_ns = timed(lambda: first_run(interpreter), 1)
    per_value, warmups, settled = warm_up(interpreter.invoke, options.warmup_s)
    before, watch = state(), Watch()
    values = timed_runs(interpreter.invoke, per_value, options.runs, options.seconds)
    other_cores = watch.other_cores()
    return {
        "load_ns": load_ns,
        "first_inference_ns": first_ns,
        "runs_per_value": per_value,
        "warmups_ns": warmups,
        "values_ns": values,
        "overhead_ns": overhead_ns(per_value),
        "environment": environment(options, name, version),
        "condition": {
            "before": before,
            "after": state(),
            "other_cores": other_cores,
            "warmup_settled": settled,
            "runs_per_value": per_value,
            "clock_ticks_per_value": middle(values) / clock_tick_ns(),
        },
    }


def memory(options: argparse.Namespace) -> Dict[str, Any]:
    """Resident memory of a process that does nothing but run the model, in KiB.

    The peak is VmHWM and not ru_maxrss, which an exec'd child inherits from a bigger parent.
    """
    name, version, interpreter_class = load_runtime()
    golden = read_golden(options.golden)
    before, runtime_kib = state(), status_kib("VmRSS")
    interpreter = open_model(interpreter_class, options.model, options.threads)
    set_inputs(interpreter, golden)
    first_run(interpreter)
    for _ in range(MEMORY_RUNS):
        interpreter.invoke()
    steady_kib = status_kib("VmRSS")
    peak_kib = max(status_kib("VmHWM"), steady_kib)  # the kernel counts the two apart
    return {
        "peak_memory_kib": peak_kib,
        "steady_memory_kib": steady_kib,
        "runtime_memory_kib": runtime_kib,
        "model_memory_kib": max(0, peak_kib - runtime_kib),
        "environment": environment(options, name, version),
        "condition": {"before": before, "after": state()},
    }


def environment(options: argparse.Namespace, runtime: str, version: str) -> Dict[str, Any]:
    """What must be equal before two measurements may be compared."""
    inputs = "random" if options.golden is None else "golden"
    facts = {"runtime": runtime, "runtime_version": version}
    return dict(facts, **identity(), threads=options.threads, inputs=inputs)


def timed(call: Callable[[], Any], per_value: int) -> int:
    """The time of a few calls back to back, in ns."""
    clock = time.perf_counter_ns
    start = clock()
    for _ in range(per_value):
        call()
    return clock() - start


def nothing() -> None:
    """What is timed to know what timing costs."""


def overhead_ns(per_value: int) -> float:
    """What timing adds to one run, in ns: the median of a thousand empty values."""
    return middle([timed(nothing, per_value) for _ in range(1000)]) / per_value


def warm_up(call: Callable[[], Any], limit_s: float) -> Tuple[int, List[int], bool]:
    """Run until the medians of the last windows agree within 3 %, or the limit has passed.

    Returns:
        the runs of one value, the values, and whether they settled.
    """
    per_value = runs_per_value(call)
    values, medians = [], []  # type: List[int], List[int]
    end = time.perf_counter_ns() + limit_s * 1e9
    while True:
        window = timed_runs(call, per_value, WINDOW_RUNS, WINDOW_S)
        values += window
        medians.append(middle(window))
        last = medians[-WINDOWS:]
        settled = len(last) == WINDOWS and max(last) - min(last) <= SETTLED * min(last)
        if settled or (len(last) == WINDOWS and time.perf_counter_ns() >= end):
            return per_value, values, settled


def runs_per_value(call: Callable[[], Any]) -> int:
    """The runs that one value takes to last 50 us, as a power of two; 1 for most models."""
    count = 1
    while any(timed(call, count) < SHORTEST_VALUE_NS for _ in range(3)):
        count *= 2
    return count


def timed_runs(call: Callable[[], Any], per_value: int, runs: int, seconds: float) -> List[int]:
    """Values of at least so many runs over at least so many seconds, in ns."""
    values = []  # type: List[int]
    end = time.perf_counter_ns() + seconds * 1e9
    while len(values) < runs or time.perf_counter_ns() < end:
        values.append(timed(call, per_value))
    return values


def middle(values: List[int]) -> int:
    """The upper median."""
    return sorted(values)[len(values) // 2]


def clock_tick_ns() -> int:
    """The smallest step that the clock was seen to make."""
    steps = []
    for _ in range(100):
        start = now = time.perf_counter_ns()
        while now == start:
            now = time.perf_counter_ns()
        steps.append(now - start)
    return min(steps)
