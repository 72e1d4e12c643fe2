"""Measures a TFLite model on the machine that it runs on: what each kind of process answers."""

from __future__ import annotations

import argparse
import gc
from typing import Any, Dict, Optional

from edgepack.agent import operators, outputs
from edgepack.agent.inputs import Samples, read_samples, set_inputs
from edgepack.agent.machine import Watch, identity, state, status_kib
from edgepack.agent.model import Runtime, first_run, sha256_of
from edgepack.agent.refusal import RefusedError
from edgepack.agent.timing import clock_tick_ns, middle, overhead_ns, timed, timed_runs, warm_up

MEMORY_RUNS = 10


def answer(options: argparse.Namespace) -> Dict[str, Any]:
    """Do the job of one process; the model file is looked at before and after."""
    measure = {
        "latency": latency,
        "memory": memory,
        "operators": operators.measure,
        "outputs": all_outputs,
    }[options.kind]
    start, before = state(), sha256_of(options.model)
    runtime = Runtime()
    found = measure(options, runtime)
    condition = dict(
        found.pop("condition", {}), start=start, model_sha256=[before, sha256_of(options.model)]
    )
    return dict(
        found, kind=options.kind, environment=environment(options, runtime), condition=condition
    )


def latency(options: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """Load, first inference, warm-up and timed runs of one process, in ns."""
    samples = first_sample(options)
    gc.disable()
    opened = []
    load_ns = timed(lambda: opened.append(open_model(options, runtime)), 1)
    (interpreter,) = opened
    set_inputs(interpreter, samples)
    first_ns = timed(lambda: first_run(interpreter), 1)
    per_value, warmups, settled = warm_up(interpreter.invoke, options.warmup_s)
    before, watch = state(), Watch()
    values = timed_runs(
        interpreter.invoke, per_value, options.runs, options.seconds, look=watch.look
    )
    other_cores, overhead = watch.other_cores(), overhead_ns(per_value)
    return {
        "load_ns": load_ns,
        "first_inference_ns": first_ns,
        "runs_per_value": per_value,
        "warmups_ns": warmups,
        "values_ns": values,
        "overhead_ns": overhead,
        "condition": {
            "before": before,
            "during": watch.looks,
            "after": state(),
            "other_cores": other_cores,
            "warmup_settled": settled,
            "runs_per_value": per_value,
            "clock_ticks_per_value": middle(values) / clock_tick_ns(),
            "overhead_ms": overhead / 1e6,
        },
    }


def memory(options: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """Resident memory of a process that does nothing but run the model, in KiB.

    The peak is VmHWM and not ru_maxrss, which an exec'd child inherits from a bigger parent.
    """
    samples = first_sample(options)
    before, runtime_kib = state(), status_kib("VmRSS")
    interpreter = open_model(options, runtime)
    set_inputs(interpreter, samples)
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
        "condition": {"before": before, "after": state()},
    }


def all_outputs(options: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """What the model makes of every sample, written to a file."""
    if not options.inputs or not options.outputs:
        raise RefusedError("inputs", "a job of the kind outputs wants --inputs and --outputs")
    made = outputs.run_all(open_model(options, runtime), read_samples(options.inputs))
    return outputs.write(options.outputs, made)


def first_sample(options: argparse.Namespace) -> Optional[Samples]:
    """What the inputs are filled with; None for random values."""
    return read_samples(options.inputs, 1) if options.inputs else None


def open_model(options: argparse.Namespace, runtime: Runtime) -> Any:
    """An interpreter that is ready to run."""
    return runtime.open(options.model, options.threads, options.delegate)


def environment(options: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """What must be equal before two measurements may be compared."""
    return dict(
        identity(),
        runtime=runtime.name,
        runtime_version=runtime.version,
        delegate=options.delegate,
        threads=options.threads,
        inputs="golden" if options.inputs else "random",
    )
