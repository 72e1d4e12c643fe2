"""The contract of a runtime: a command that measures on a device, and how to read its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgepack.measuring.measurement import Measurement

KINDS = ("latency", "memory", "operators", "outputs")
DELEGATES = ("xnnpack", "none", "edgetpu")


@dataclass(frozen=True)
class Job:
    """One process on a device, by its paths there.

    Attributes:
        model: the model file.
        kind: ``latency``, ``memory``, ``operators`` (times of single operators) or ``outputs``
            (what the model makes of every sample of ``inputs``, written to ``outputs``).
        inputs: an ``.npz`` of arrays named ``input.NAME``; None for random inputs.
        outputs: the ``.npz`` that a job of the kind ``outputs`` writes.
        packages: folders that Python looks into first.
        delegate: ``xnnpack`` (the runtime's default), ``none`` or ``edgetpu``.
        threads: of the runtime.
        runs: the fewest timed runs.
        seconds: the shortest time of timed runs, in s.
        warmup_s: the longest time of the warm-up, in s.
        limit_s: after this the process ends itself, in s.
        lock: the file that a process holds locked while it measures; None for no lock.
        owner: who measures, for the words of the lock.
        token: of the session that holds the board; empty where nobody reserved it.
    """

    model: str
    kind: str = "latency"
    inputs: str | None = None
    outputs: str | None = None
    packages: tuple[str, ...] = ()
    delegate: str = "xnnpack"
    threads: int = 1
    runs: int = 50
    seconds: float = 1.0
    warmup_s: float = 5.0
    limit_s: float = 600.0
    lock: str | None = None
    owner: str = ""
    token: str = ""


class Runtime(Protocol):
    """What a module under ``edgepack.runtimes`` holds: functions without side effects."""

    def agent(self) -> bytes:
        """The program that `command` runs on the device, as one file."""
        ...

    def command(self, python: Sequence[str], agent: str, job: Job) -> list[str]:
        """The argument list that runs a job.

        Args:
            python: what starts Python on the device, as an argument list.
            agent: the path of the agent there.
            job: what to do.
        """
        ...

    def parse(self, stdout: str) -> tuple[Measurement, ...]:
        """Read what the command wrote to standard output.

        Raises:
            ModelError: if the runtime refused the model or its inputs.
            DeviceError: if the device has no runtime, or the answer cannot be read.
        """
        ...

    def remarks(self, stdout: str) -> Mapping[str, Any]:
        """What else the command wrote: plain data.

        ``model_sha256``, before and after; of ``outputs`` their ``sha256`` and ``count``; of
        ``operators`` the ``reason`` why there are none, and the ``share`` of the whole that they
        explain.

        Raises:
            EdgepackError: as `parse` does.
        """
        ...
