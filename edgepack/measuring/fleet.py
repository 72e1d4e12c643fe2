"""Many devices side by side: one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgepack.device import Device
from edgepack.errors import DeviceError, EdgepackError
from edgepack.measuring.benchmark import Benchmark
from edgepack.progress import Progress, Reporter



class Work(Protocol):
    """What to do on one device."""

    def __call__(self, device: Device, *, report: Reporter) -> tuple[Benchmark, ...]:
        """Do it, and say how far it is."""
        ...


@dataclass
class Outcome:
    """What came of one device.

    Attributes:
        device: the device.
        benchmarks: what was measured there; empty where it failed.
        error: why it failed.
    """

    device: Device
    benchmarks: tuple[Benchmark, ...] = ()
    error: BaseException | None = None


def bench_all(devices: Sequence[Device], work: Work, report: Reporter) -> list[Outcome]:
    """Do the same work on every device at the same time.

    The threads end with the program, so that an interrupted one waits for no device.

    Args:
        devices: where to work.
        work: what to do on one of them.
        report: where progress goes; with several devices each has its own line.

    Returns:
        an outcome for each device, in their order.

    Raises:
        Exception: whatever is no `EdgepackError`, after all have ended.
    """
    outcomes = [Outcome(device) for device in devices]
    threads = [
        threading.Thread(target=_do, args=(outcome, work, _own_line(report, devices, outcome)))
        for outcome in outcomes
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, EdgepackError):
            raise outcome.error
    return outcomes


def _do(outcome: Outcome, work: Work, report: Reporter) -> None:
    try:
        outcome.benchmarks = work(outcome.device, report=report)
    except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
        outcome.error = error


def _own_line(report: Reporter, devices: Sequence[Device], outcome: Outcome) -> Reporter:
    if len(devices) == 1:
        return report

    def prefixed(now: Progress) -> None:
        report(replace(now, task=outcome.device.name, note=f"{now.task}  {now.note}".rstrip()))

    return prefixed


def failure(outcomes: Sequence[Outcome]) -> EdgepackError | None:
    """What to end with where devices failed; None where none did."""
    failed = [o for o in outcomes if isinstance(o.error, EdgepackError)]
    if not failed:
        return None
    if len(outcomes) == 1:
        only = failed[0].error
        assert isinstance(only, EdgepackError)
        return only
    names = ", ".join(outcome.device.name for outcome in failed)
    return DeviceError(
        f"{len(failed)} of {len(outcomes)} devices failed: {names}",
        "each says above what is wrong; the results of the others are whole",
    )
