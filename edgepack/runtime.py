"""The contract of a runtime: a command that measures on a device, and how to read its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgepack.measurement import Measurement


@dataclass(frozen=True)
class Job:
    """One process of measuring, by its paths on the device.

    Attributes:
        model: the model file.
        kind: ``latency`` or ``memory``.
        golden: an ``.npz`` of inputs named ``input.NAME``; None for random inputs.
        threads: of the runtime.
        runs: the fewest timed runs.
        seconds: the shortest time of timed runs, in s.
        warmup_s: the longest time of the warm-up, in s.
    """

    model: str
    kind: str = "latency"
    golden: str | None = None
    threads: int = 1
    runs: int = 50
    seconds: float = 1.0
    warmup_s: float = 5.0


class Runtime(Protocol):
    """What a module under ``edgepack.runtimes`` holds: functions without side effects."""

    def agent(self) -> bytes:
        """The program that `command` runs on the device, as one file."""
        ...

    def command(self, python: str, agent: str, job: Job) -> list[str]:
        """The argument list that runs a job, by the paths of Python and agent on the device."""
        ...

    def parse(self, stdout: str) -> tuple[Measurement, ...]:
        """Read what the command wrote to standard output.

        Raises:
            ModelError: if the runtime refused the model or its inputs.
            DeviceError: if the device has no runtime, or the answer cannot be read.
        """
        ...
