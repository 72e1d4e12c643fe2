"""LiteRT (formerly TensorFlow Lite) from Python, by the agent of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgepack.errors import DeviceError, EdgepackError, ModelError
from edgepack.measuring.answer import read_answer, read_condition, read_environment
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.reading import Node
from edgepack.runtime import KINDS, Job

T = TypeVar("T")
Process = tuple[float, ...]
Row = tuple[str, str, Process, tuple[Process, ...]]
"""A metric, its unit, its values, and those of the warm-up where there is one."""

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
    return _read(stdout, measurements)


def remarks(stdout: str) -> Mapping[str, Any]:
    """What the answer says beside measurements."""
    return _read(stdout, _remarks)


def _read(stdout: str, take: Callable[[Node], T]) -> T:
    found = read_answer(stdout, lambda answer: _refused(answer) or take(answer))
    if isinstance(found, EdgepackError):
        raise found
    return found


def _refused(answer: Node) -> EdgepackError | None:
    if "error" not in answer.plain():
        return None
    fault = answer.field("error")
    return refusal(fault.field("kind").word(REFUSALS), fault.field("message").text())


def _remarks(answer: Node) -> Mapping[str, Any]:
    checks: Mapping[str, Callable[[Node], Any]] = {
        "sha256": Node.text,
        "count": lambda node: node.whole(0),
        "reason": Node.text,
        "share": Node.amount,
    }
    present = [name for name in checks if name in answer.plain()]
    digests = answer.field("condition").field("model_sha256").elements()
    said = {name: checks[name](answer.field(name)) for name in present}
    return {"model_sha256": [digest.text() for digest in digests], **said}


def refusal(kind: str, message: str) -> EdgepackError:
    """The exception for an agent that says why it could not measure."""
    if kind == "model" and EDGETPU_OPERATOR in message:
        hint = "measure it on a device that has one, with --delegate edgetpu"
        return ModelError(f"the model is compiled for an Edge TPU: {message}", hint)
    error, words, hint = REFUSALS[kind]
    return error(f"{words}: {message}", hint)


def measurements(answer: Node) -> tuple[Measurement, ...]:
    """The measurements of one process; times in ms, memory in KiB.

    Raises:
        InputError: if a value is not what it ought to be.
    """
    takers: dict[str, Callable[[Node], Iterable[Row]]] = {
        "latency": _times,
        "memory": _memory,
        "operators": _operators,
        "outputs": lambda _: (),  # which is no measurement
    }
    take = takers[answer.field("kind").word(KINDS)]
    environment = read_environment(answer.field("environment"))
    conditions = (read_condition(answer.field("condition")),)
    return tuple(
        Measurement(metric, unit, (values,), warmups, environment, conditions)
        for metric, unit, values, warmups in take(answer)
    )


def _times(answer: Node) -> Iterator[Row]:
    divisor = 1e6 * answer.field("runs_per_value").whole(1)
    timed, warmups = answer.field("values_ns"), answer.field("warmups_ns")
    if not all(ns >= 1 for ns in timed.numbers()):
        timed.refuse("times from 1 ns on")
    settling = _ms(warmups.numbers(empty=True), divisor)
    yield "latency", "ms", _ms(timed.numbers(), divisor), (settling,)
    for metric in ("load", "first_inference", "overhead"):
        yield metric, "ms", (answer.field(f"{metric}_ns").amount() / 1e6,), ()


def _ms(times_ns: Sequence[float], divisor: float) -> tuple[float, ...]:
    return tuple(round(ns / divisor, 9) for ns in times_ns)


def _memory(answer: Node) -> Iterator[Row]:
    for metric in MEMORY:
        yield metric, "KiB", (answer.field(f"{metric}_kib").amount(),), ()


def _operators(answer: Node) -> Iterator[Row]:
    rows = answer.field("operators")
    for i, row in enumerate(rows.elements(empty=True) if rows.value is not None else ()):
        name = row.field("name").text()
        yield f"operator {i}: {name}", "ms", row.field("values_ms").numbers(), ()
