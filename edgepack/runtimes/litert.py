"""LiteRT (formerly TensorFlow Lite) from Python, by the agent of this package."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgepack.errors import DeviceError, EdgepackError, ModelError
from edgepack.measuring.measurement import Measurement
from edgepack.runtime import Job

T = TypeVar("T")
AGENT = Path(__file__).parent.parent / "agent"
AGENT_FILES = (
    "__init__.py",
    "edgetpu.py",
    "inputs.py",
    "leash.py",
    "lock.py",
    "machine.py",
    "measure.py",
    "model.py",
    "operators.py",
    "outputs.py",
    "profiler.py",
    "program.py",
    "refusal.py",
    "timing.py",
)
AGENT_MAIN = "import sys\nfrom edgepack.agent.program import main\nsys.exit(main())\n"
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that is not the agent's: a device may say anything."""
REMARKS = ("sha256", "count", "reason", "share")
EDGETPU_OPERATOR = "edgetpu-custom-op"
REFUSALS: Mapping[str, tuple[type[EdgepackError], str, str]] = {
    "runtime": (
        DeviceError,
        "the device has no TFLite runtime",
        "type on the device: pip install ai-edge-litert",
    ),
    "model": (
        ModelError,
        "the runtime refuses the model",
        "convert it again, or use the runtime that it was made for",
    ),
    "inputs": (
        ModelError,
        "the inputs do not fit the model",
        "save the model with inputs of a fixed size, or build it again",
    ),
    "file": (
        DeviceError,
        "a file on the device cannot be used",
        "look for free space and permissions there: df, ls -l",
    ),
    "lock": (
        DeviceError,
        "the device cannot be held",
        "look at the permissions and the free space there: ls -l, df",
    ),
    "busy": (
        DeviceError,
        "the device is in use",
        "wait until the other measurement has ended",
    ),
    "edgetpu-library": (
        DeviceError,
        "the device has no library for the Edge TPU",
        "install libedgetpu1-std there: coral.ai/docs/accelerator/get-started",
    ),
    "edgetpu-device": (
        DeviceError,
        "the device has no Edge TPU",
        "plug it in, into a USB 3 port, or measure with --delegate xnnpack",
    ),
    "edgetpu-permission": (
        DeviceError,
        "the Edge TPU may not be used by this user",
        "type on the device: sudo usermod -aG plugdev $USER; then plug it in and log in again",
    ),
    "edgetpu-busy": (
        DeviceError,
        "the Edge TPU cannot be used",
        "end other programs that use it, or unplug it and plug it in again",
    ),
}
MEMORY = ("peak_memory", "steady_memory", "runtime_memory", "model_memory")


def agent() -> bytes:
    """The agent as a zip archive that Python runs as it is; the same bytes for the same files."""
    import io
    import zipfile

    texts = {f"edgepack/agent/{name}": (AGENT / name).read_bytes() for name in AGENT_FILES}
    texts |= {"edgepack/__init__.py": b"", "__main__.py": AGENT_MAIN.encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(texts.items()):
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def command(python: Sequence[str], agent: str, job: Job) -> list[str]:
    """The argument list that runs the agent for one job."""
    files = {"--inputs": job.inputs, "--outputs": job.outputs, "--lock": job.lock}
    return [
        *python,
        agent,
        job.kind,
        job.model,
        *(f"--packages={folder}" for folder in job.packages),
        *(f"{option}={path}" for option, path in files.items() if path),
        f"--delegate={job.delegate}",
        f"--threads={job.threads}",
        f"--runs={job.runs}",
        f"--seconds={job.seconds:g}",
        f"--warmup-s={job.warmup_s:g}",
        f"--limit-s={job.limit_s:g}",
        *((f"--owner={job.owner}", f"--token={job.token}") if job.lock else ()),
    ]


def parse(stdout: str) -> tuple[Measurement, ...]:
    """Read the agent's answer: its last line is one JSON object."""
    return _read(stdout, lambda answer: tuple(map(_checked, measurements(answer))))


def remarks(stdout: str) -> Mapping[str, Any]:
    """What the answer says beside measurements."""
    return _read(stdout, _remarks)


def _read(stdout: str, take: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        answer = json.loads(stdout.strip().rsplit("\n", 1)[-1])
        if "error" in answer:
            raise refusal(answer["error"]["kind"], answer["error"]["message"])
        return take(answer)
    except UNREADABLE as error:
        raise DeviceError(
            f"the agent's answer cannot be read: {stdout[-200:]!r}",
            "measure again; if it comes back, type: edgepack devices NAME --clean",
        ) from error


def _checked(found: Measurement) -> Measurement:
    """A measurement with values that statistics can be made of; else a ValueError."""
    least = 1e-9 if found.metric == "latency" else 0.0
    if not all(found.values) or not all(least <= value < math.inf for value in found.pooled):
        raise ValueError(f"{found.metric} has values that cannot be")
    return found


def _remarks(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    said = {key: answer[key] for key in REMARKS if key in answer}
    return {"model_sha256": answer["condition"]["model_sha256"], **said}


def refusal(kind: str, message: str) -> EdgepackError:
    """The exception for an agent that says why it could not measure."""
    if kind == "model" and EDGETPU_OPERATOR in message:
        hint = "measure it on a device that has one, with --delegate edgetpu"
        return ModelError(f"the model is compiled for an Edge TPU: {message}", hint)
    error, words, hint = REFUSALS[kind]
    return error(f"{words}: {message}", hint)


def measurements(answer: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The measurements of one process; times in ms, memory in KiB."""
    environment, condition = answer["environment"], (answer["condition"],)
    if answer["kind"] == "outputs":
        return ()
    if answer["kind"] == "operators":
        return tuple(
            Measurement(
                f"operator {i}: {row['name']}",
                "ms",
                (tuple(row["values_ms"]),),
                (),
                environment,
                condition,
            )
            for i, row in enumerate(answer["operators"] or ())
        )
    if answer["kind"] == "memory":
        return tuple(
            Measurement(m, "KiB", ((answer[f"{m}_kib"],),), (), environment, condition)
            for m in MEMORY
        )
    divisor = 1e6 * answer["runs_per_value"]
    values, warmups = (
        tuple(round(ns / divisor, 9) for ns in answer[key]) for key in ("values_ns", "warmups_ns")
    )
    single = {m: ((answer[f"{m}_ns"] / 1e6,),) for m in ("load", "first_inference", "overhead")}
    return (
        Measurement("latency", "ms", (values,), (warmups,), environment, condition),
        *(Measurement(m, "ms", v, (), environment, condition) for m, v in single.items()),
    )
