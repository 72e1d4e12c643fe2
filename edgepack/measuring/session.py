"""Bench a model on a device: the whole flow from file to judged measurements."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from edgepack import plugins
from edgepack.artifact import sha256_of
from edgepack.bundle import read_bundle
from edgepack.device import Device, local_device
from edgepack.errors import DeviceError, ModelError
from edgepack.measuring.measurement import Benchmark, Measurement, merge
from edgepack.progress import Progress, Reporter, silent
from edgepack.runtime import Job, Runtime
from edgepack.transport import Completed, Transport

GOLDEN = "golden.npz"
AGENT = "agent.pyz"


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        threads: of the runtime.
        runs: the fewest timed runs in each process.
        seconds: the shortest time of timed runs in each process, in s.
        processes: of latency; memory has one of its own.
        warmup_s: the longest warm-up in each process, in s.
        timeout_s: after this a process is killed, in s.
        runtime: the runtime's name.
    """

    threads: int = 1
    runs: int = 50
    seconds: float = 1.0
    processes: int = 3
    warmup_s: float = 5.0
    timeout_s: float = 600.0
    runtime: str = "litert"


@dataclass(frozen=True)
class Subject:
    """The model to measure, and the golden inputs that came with it."""

    model: Path
    golden: Path | None = None


def bench(
    path: Path,
    device: Device | None = None,
    settings: Settings = Settings(),
    report: Reporter = silent,
) -> Benchmark:
    """Measure latency and memory of a bundle or a ``.tflite`` file.

    Args:
        path: a bundle's folder or a model file.
        device: where to measure; this machine where none is named.
        settings: how to measure.
        report: where progress goes.

    Raises:
        ModelError: if there is no model that the runtime takes.
        DeviceError: if the device fails: no runtime, a crash, a timeout.
    """
    subject = read_subject(path)
    device = device or local_device()
    runtime = cast(Runtime, plugins.load("runtimes", settings.runtime))
    connect = plugins.class_of(plugins.load("transports", device.transport, DeviceError))
    with closing(connect(device.address)) as transport:
        measurements = measure(subject, transport, runtime, settings, report)
    model = {
        "name": subject.model.name,
        "sha256": sha256_of(subject.model),
        "size_bytes": subject.model.stat().st_size,
    }
    return Benchmark(model, asdict(device), asdict(settings), measurements)


def read_subject(path: Path) -> Subject:
    """Find the model of a bundle, or check that a file is a ``.tflite``.

    Raises:
        InputError: if the folder is no bundle.
        ModelError: if the file is no model.
    """
    subject = _subject_of_bundle(path) if path.is_dir() else Subject(path)
    try:
        with subject.model.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(
            f"{subject.model} cannot be read: {error.strerror}", "name a bundle or a .tflite file"
        ) from error
    if head[4:] != b"TFL3":
        raise ModelError(
            f"{subject.model} is not a .tflite model",
            "name a bundle or a .tflite file; edgepack build makes both",
        )
    return subject


def _subject_of_bundle(folder: Path) -> Subject:
    golden = folder / GOLDEN
    return Subject(read_bundle(folder).model, golden if golden.is_file() else None)


def measure(
    subject: Subject, transport: Transport, runtime: Runtime, settings: Settings, report: Reporter
) -> tuple[Measurement, ...]:
    """Push model and agent, run every process after the other, and join what they measured."""
    agent = push_agent(transport, runtime)
    golden = push(transport, subject.golden) if subject.golden else None
    jobs = plan(push(transport, subject.model), golden, settings)
    parts: list[Measurement] = []
    for number, job in enumerate(jobs):
        report(Progress("bench", number, len(jobs), f"{job.kind}, process {number + 1}"))
        done = transport.run(
            runtime.command(transport.python, agent, job), timeout_s=settings.timeout_s
        )
        parts += runtime.parse(answer_of(done))
    report(Progress("bench", len(jobs), len(jobs)))
    return tuple(merge(group) for group in by_metric(parts))


def plan(model: str, golden: str | None, settings: Settings) -> list[Job]:
    """The processes: latency as often as asked for, then memory."""
    kinds = ["latency"] * settings.processes + ["memory"]
    return [
        Job(
            model,
            kind,
            golden,
            threads=settings.threads,
            runs=settings.runs,
            seconds=settings.seconds,
            warmup_s=settings.warmup_s,
        )
        for kind in kinds
    ]


def push(transport: Transport, local: Path) -> str:
    """Copy a file into the transport's folder, and return its path there."""
    remote = f"{transport.folder}/{local.name}"
    transport.put(local, remote)
    return remote


def push_agent(transport: Transport, runtime: Runtime) -> str:
    """Put the runtime's agent on the device, and return its path there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / AGENT
        file.write_bytes(runtime.agent())
        return push(transport, file)


def answer_of(done: Completed) -> str:
    """What the agent wrote, where it came to its end.

    Raises:
        DeviceError: if a signal killed it, or it failed without an answer.
    """
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise DeviceError(
            f"the runtime crashed on the device with {name}",
            "the runtime's build may not fit this CPU or this model; try another version",
        )
    if not done.stdout.strip():
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise DeviceError(
            f"the agent failed with exit code {done.returncode}: {last}",
            "type: edgepack doctor",
        )
    return done.stdout


def by_metric(parts: Iterable[Measurement]) -> list[list[Measurement]]:
    """Measurements of one metric each, in the order of their first occurrence."""
    groups: dict[str, list[Measurement]] = {}
    for part in parts:
        groups.setdefault(part.metric, []).append(part)
    return list(groups.values())
