"""Measures a TFLite model on the machine that it runs on and prints one JSON object.

A program of its own, for any device: standard library, numpy and a TFLite runtime, Python 3.7 up.
A model or a runtime that fails is answered with ``{"error": {"kind": ..., "message": ...}}``.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

RUNTIMES = ("ai_edge_litert", "tflite_runtime")
SHORTEST_VALUE_NS = 50000
WINDOW_RUNS = 5
WINDOW_S = 0.1
WINDOWS = 3
SETTLED = 0.03
MEMORY_RUNS = 10
LONGEST_MESSAGE = 160
CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"


class RefusedError(Exception):
    """What was refused (``runtime``, ``model`` or ``inputs``), and why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


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
    clock = time.perf_counter_ns
    start = clock()
    interpreter = open_model(interpreter_class, options)
    load_ns = clock() - start
    set_inputs(interpreter, golden)
    gc.disable()
    first_ns = first_inference(interpreter)
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
    interpreter = open_model(interpreter_class, options)
    set_inputs(interpreter, golden)
    first_inference(interpreter)
    for _ in range(MEMORY_RUNS):
        interpreter.invoke()
    peak_kib = status_kib("VmHWM")
    return {
        "peak_memory_kib": peak_kib,
        "steady_memory_kib": status_kib("VmRSS"),
        "runtime_memory_kib": runtime_kib,
        "model_memory_kib": max(0, peak_kib - runtime_kib),
        "environment": environment(options, name, version),
        "condition": {"before": before, "after": state()},
    }


def load_runtime() -> Tuple[str, str, Any]:
    """Package, version and Interpreter class of the first runtime that can be imported."""
    reasons = []
    for package in RUNTIMES:
        try:
            module = importlib.import_module(package + ".interpreter")
        except ImportError as error:
            reasons.append(str(error))
            continue
        return package.replace("_", "-"), version_of(package), module.Interpreter
    raise RefusedError("runtime", "; ".join(reasons))


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:  # Python 3.7
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))
    return str(metadata.version(package))


def open_model(interpreter_class: Any, options: argparse.Namespace) -> Any:
    """An interpreter that is ready to run."""
    try:
        interpreter = interpreter_class(model_path=options.model, num_threads=options.threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError("model", one_line(error)) from error
    return interpreter


def first_inference(interpreter: Any) -> int:
    """The time of the first inference, in ns."""
    start = time.perf_counter_ns()
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise RefusedError("model", one_line(error)) from error
    return time.perf_counter_ns() - start


def one_line(error: Exception) -> str:
    """An error's text without line breaks, and not longer than anybody reads."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


def read_golden(path: Optional[str]) -> Optional[Dict[str, Any]]:
    """The first sample of each golden input by the input's name: [1, ...]."""
    import numpy as np

    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {n[len("input.") :]: file[n][:1] for n in file.files if n.startswith("input.")}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RefusedError("inputs", one_line(error)) from error


def set_inputs(interpreter: Any, golden: Optional[Dict[str, Any]]) -> None:
    """Fill the inputs once, outside everything that is timed."""
    details = interpreter.get_input_details()
    for number, detail in enumerate(details):
        if golden is None:
            value = random_input(detail, number)
        else:
            value = golden_input(detail, golden, alone=len(details) == 1)
        interpreter.set_tensor(detail["index"], value)


def golden_input(detail: Dict[str, Any], golden: Dict[str, Any], alone: bool) -> Any:
    """The golden sample of one input as its tensor stores it: by its name, or the only one."""
    import numpy as np

    name = detail["name"]
    value = golden.get(name)
    if value is None and alone and len(golden) == 1:
        value = next(iter(golden.values()))
    if value is None:
        raise RefusedError("inputs", "%s is not among %s" % (name, ", ".join(golden)))
    shape = tuple(int(size) for size in detail["shape"])
    if not shape or value.shape[1:] != shape[1:]:
        raise RefusedError("inputs", "%s is %s, not %s" % (name, value.shape, shape))
    return np.broadcast_to(stored(value, detail), shape)


def stored(value: Any, detail: Dict[str, Any]) -> Any:
    """Real values as a tensor stores them: ``round(value / scale) + zero_point``, clipped."""
    import numpy as np

    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind not in "iu" or not scale:
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(value / scale) + zero_point, limits.min, limits.max).astype(dtype)


def random_input(detail: Dict[str, Any], seed: int) -> Any:
    """Uniform over small integer types, 0 or 1 for those that may be indices, [0, 1) for floats."""
    import numpy as np

    random, dtype = np.random.RandomState(seed), np.dtype(detail["dtype"])
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return random.randint(limits.min, limits.max + 1, detail["shape"]).astype(dtype)
    if dtype.kind in "iub":
        return random.randint(0, 2, detail["shape"]).astype(dtype)
    if dtype.kind in "fc":
        return random.random_sample(detail["shape"]).astype(dtype)
    raise RefusedError("inputs", "%s has the type %s" % (detail["name"], dtype))


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


def environment(options: argparse.Namespace, runtime: str, version: str) -> Dict[str, Any]:
    """What must be equal before two measurements may be compared."""
    return {
        "runtime": runtime,
        "runtime_version": version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "inputs": "random" if options.golden is None else "golden",
    }


def cpu_name() -> str:
    """The processor's name; on a board, that of the board."""
    board = read_text("/proc/device-tree/model").strip("\0\n ")
    lines = read_text("/proc/cpuinfo").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return board or next(iter(names), platform.machine())


def state() -> Dict[str, Any]:
    """What may change while a measurement runs; an empty list is not readable here."""
    governors = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_governor")
    frequencies = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    temperatures = read_all(THERMAL, "thermal_zone*/temp")
    return {
        "load_average": os.getloadavg()[0],
        "governors": sorted(set(governors)),
        "frequencies_khz": [int(text) for text in frequencies if text.isdigit()],
        "temperatures_c": [int(t) / 1000 for t in temperatures if t.lstrip("-").isdigit()],
    }


def read_all(folder: str, pattern: str) -> List[str]:
    """The texts of all files that match."""
    return [read_text(str(path)).strip() for path in sorted(Path(folder).glob(pattern))]


def read_text(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


class Watch:
    """Counts what other processes compute while this one does."""

    def __init__(self) -> None:
        self.busy_s, self.own_s, self.start_s = busy_s(), time.process_time(), time.monotonic()

    def other_cores(self) -> Optional[float]:
        """Cores that others kept busy since the start; None where that cannot be read."""
        if self.busy_s is None:
            return None
        others = (busy_s() or 0.0) - self.busy_s - (time.process_time() - self.own_s)
        return max(0.0, others / (time.monotonic() - self.start_s))


def busy_s() -> Optional[float]:
    """The seconds that all cores were busy since boot: user, nice, system, interrupts, stolen."""
    first = read_text("/proc/stat").partition("\n")[0].split()
    if len(first) < 9:
        return None
    ticks = [int(first[i]) for i in (1, 2, 3, 6, 7, 8)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def status_kib(key: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = [line for line in read_text("/proc/self/status").splitlines() if line.startswith(key)]
    return int(lines[0].split()[1])


if __name__ == "__main__":
    sys.exit(main())
