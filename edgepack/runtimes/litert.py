"""LiteRT (formerly TensorFlow Lite) from Python, by the agent of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.errors import DeviceError, EdgepackError, ModelError
from edgepack.measuring.measurement import Measurement
from edgepack.runtime import Job

AGENT = Path(__file__).parent.parent / "agent"
AGENT_FILES = ("__init__.py", "machine.py", "measure.py", "model.py")
AGENT_MAIN = "import sys\nfrom edgepack.agent.measure import main\nsys.exit(main())\n"
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


def command(python: str, agent: str, job: Job) -> list[str]:
    """The argument list that runs the agent for one job."""
    golden = ["--golden", job.golden] if job.golden else []
    return [
        python,
        agent,
        job.kind,
        job.model,
        *golden,
        f"--threads={job.threads}",
        f"--runs={job.runs}",
        f"--seconds={job.seconds:g}",
        f"--warmup-s={job.warmup_s:g}",
    ]


def parse(stdout: str) -> tuple[Measurement, ...]:
    """Read the agent's answer: its last line is one JSON object."""
    try:
        answer = json.loads(stdout.strip().rsplit("\n", 1)[-1])
        if "error" in answer:
            raise refusal(answer["error"]["kind"], answer["error"]["message"])
        return measurements(answer)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DeviceError(f"the agent's answer cannot be read: {stdout[-200:]!r}") from error


def refusal(kind: str, message: str) -> EdgepackError:
    """The exception for an agent that says why it could not measure."""
    if kind == "runtime":
        return DeviceError(
            f"the device has no TFLite runtime: {message}",
            "type on the device: pip install ai-edge-litert",
        )
    if kind == "inputs":
        return ModelError(
            f"the inputs do not fit the model: {message}",
            "save the model with inputs of a fixed size, or build it again",
        )
    return ModelError(
        f"the runtime refuses the model: {message}",
        "convert it again, or use the runtime that it was made for",
    )


def measurements(answer: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The measurements of one process; times in ms, memory in KiB."""
    environment, condition = answer["environment"], (answer["condition"],)
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
