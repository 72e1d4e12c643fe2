"""A device made ready to measure: everything is there, and jobs can be run."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.boards.files import push
from edgepack.boards.installation import Installation
from edgepack.boards.installer import EDGETPU_CONFLICT, EDGETPU_HINT
from edgepack.errors import DeviceError
from edgepack.measuring.measurement import Measurement
from edgepack.progress import Progress, Reporter
from edgepack.runtime import Job, Runtime
from edgepack.transport import Completed, Transport

AGENT = "agent.pyz"
OTHER_BUILD = "the runtime's build may not fit this CPU or this model; try another version"
GRACE_S = 30.0
"""What the device gets beyond a job's limit to start and to answer."""


@dataclass(frozen=True)
class Stand:
    """A device with a runtime and the agent on it.

    Attributes:
        transport: to the device.
        runtime: what commands and answers look like.
        installation: of the runtime on the device.
        agent: its path there.
    """

    transport: Transport
    runtime: Runtime
    installation: Installation
    agent: str

    def run(self, job: Job) -> tuple[tuple[Measurement, ...], Mapping[str, Any]]:
        """Run one job to its end.

        Returns:
            what it measured, and what else it says.

        Raises:
            ModelError: if the runtime refuses the model.
            DeviceError: if the device fails: a crash, a timeout, a dropped connection.
        """
        ready = replace(job, packages=self.installation.packages)
        argv = self.runtime.command(self.installation.python, self.agent, ready)
        done = self.transport.run(argv, timeout_s=job.limit_s + GRACE_S)
        answer = answer_of(done, job)
        return self.runtime.parse(answer), self.runtime.remarks(answer)


def push_agent(transport: Transport, runtime: Runtime) -> str:
    """Put the runtime's agent on the device, and return its path there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / AGENT
        file.write_bytes(runtime.agent())
        return push(transport, file)


def answer_of(done: Completed, job: Job) -> str:
    """What the agent wrote, where it came to its end.

    Raises:
        DeviceError: if a signal killed it, or it failed without an answer.
    """
    if done.returncode == -signal.SIGALRM:
        raise DeviceError(
            f"the {job.kind} process had not ended after {job.limit_s:g} s and was killed",
            "allow more time with --timeout, or measure fewer runs",
        )
    if done.returncode == -signal.SIGKILL:
        raise DeviceError(
            f"the {job.kind} process was killed on the device (SIGKILL)",
            "the device may be out of memory: end other programs there, or take a smaller model",
        )
    if done.returncode < 0:
        raise DeviceError(
            f"the runtime crashed on the device with {done.killer}",
            f"{EDGETPU_CONFLICT}: {EDGETPU_HINT}" if job.delegate == "edgetpu" else OTHER_BUILD,
        )
    if not done.stdout.strip():
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise DeviceError(
            f"the agent failed with exit code {done.returncode}: {last}",
            "type: edgepack devices NAME, which shows what the device has",
        )
    return done.stdout


def cool_down(
    read: Callable[[], float | None], below_c: float, wait_s: float, report: Reporter
) -> float:
    """Wait until a device is cool enough to begin; what is still hot then is judged as such.

    Args:
        read: gives its temperature in degrees Celsius; None where it does not tell.
        below_c: what to wait for.
        wait_s: the longest wait, in s.
        report: where progress goes.

    Returns:
        how long that took, in s.
    """
    now, start = read(), time.monotonic()
    while now is not None and now >= below_c and (waited := time.monotonic() - start) < wait_s:
        note = f"{now:.1f} degrees C, waits for {below_c:g}"
        report(Progress("cool down", int(waited), int(wait_s), note))
        time.sleep(min(5.0, wait_s - waited))
        now = read()
    return time.monotonic() - start
