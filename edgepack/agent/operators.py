"""Times of single operators, where the runtime offers them."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, Dict, List

from edgepack.agent.inputs import read_samples, set_inputs
from edgepack.agent.machine import state
from edgepack.agent.model import Runtime
from edgepack.agent.profiler import ProfiledModel, Run, UnofferedError, library
from edgepack.agent.timing import middle, warm_up

BLOCK_RUNS = 10
"""A value is the mean of so many runs, because the profiler counts whole microseconds."""


def measure(options: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """The operators' times, or None and the reason; and how much of the whole they explain."""
    before = state()
    try:
        found = profile(options, open_profiled(options, runtime))
    except UnofferedError as error:
        words = "%s %s: no times of single operators: %s"
        found = {"operators": None, "reason": words % (runtime.name, runtime.version, error)}
    return dict(found, condition={"before": before, "after": state()})


def open_profiled(options: argparse.Namespace, runtime: Runtime) -> ProfiledModel:
    """The model under the profiler, with the inputs that an interpreter would be given."""
    if runtime.name != "ai-edge-litert" or options.delegate == "edgetpu":
        raise UnofferedError("only ai-edge-litert on the CPU has a profiler")
    interpreter = runtime.open(options.model, options.threads, options.delegate)
    details = interpreter.get_input_details()
    if any(-1 in detail["shape_signature"] for detail in details):
        raise UnofferedError("the model leaves sizes open")
    set_inputs(interpreter, read_samples(options.inputs, 1) if options.inputs else None)
    contents = [interpreter.get_tensor(detail["index"]).tobytes() for detail in details]
    folder = os.path.dirname(str(runtime.module.__file__))
    xnnpack = options.delegate == "xnnpack"
    found = library(runtime.version, folder)
    return ProfiledModel(found, options.model, options.threads, xnnpack, contents)


def profile(options: argparse.Namespace, model: ProfiledModel) -> Dict[str, Any]:
    """Values of at least so many runs over at least so many seconds."""
    model.run()
    warm_up(model.run, options.warmup_s)
    runs: List[Run] = []
    end = time.monotonic() + options.seconds
    while len(runs) < options.runs or time.monotonic() < end:
        runs += model.profile(BLOCK_RUNS)
    names = [name for name, _ in runs[0][1]]
    if not names or any([name for name, _ in steps] != names for _, steps in runs):
        raise UnofferedError("the operators differ from run to run")
    blocks = [runs[i : i + BLOCK_RUNS] for i in range(0, len(runs), BLOCK_RUNS)]
    rows = [
        {"name": name, "values_ms": [mean_ms([steps[i][1] for _, steps in b]) for b in blocks]}
        for i, name in enumerate(names)
    ]
    whole = middle([sum(elapsed for elapsed, _ in block) for block in blocks])
    parts = middle([sum(us for _, steps in block for _, us in steps) for block in blocks])
    return {"operators": rows, "share": parts / whole}


def mean_ms(times_us: List[int]) -> float:
    """The mean, in ms."""
    return sum(times_us) / len(times_us) / 1000
