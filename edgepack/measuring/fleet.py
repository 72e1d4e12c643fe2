"""Many devices side by side: one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from edgepack.device import Device
from edgepack.errors import DeviceError, EdgepackError
from edgepack.progress import Progress, Reporter

T = TypeVar("T")


@dataclass
class Outcome(Generic[T]):
    """What came of one device.

    Attributes:
        device: the device.
        result: of the work; None where it failed.
        error: why it failed.
    """

    device: Device
    result: T | None = None
    error: BaseException | None = None


def side_by_side(devices: Sequence[Device], work: Callable[[Device], T]) -> list[Outcome[T]]:
    """Do the same work on every device at the same time.

    The threads end with the program, so that an interrupted one waits for no device.

    Args:
        devices: where to work.
        work: what to do on one of them.

    Returns:
        an outcome for each device, in their order; give them to `failure`, which raises bugs.
    """
    outcomes: list[Outcome[T]] = [Outcome(device) for device in devices]
    threads = [
        threading.Thread(target=_do, args=(outcome, work), daemon=True) for outcome in outcomes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _do(outcome: Outcome[T], work: Callable[[Device], T]) -> None:
    try:
        outcome.result = work(outcome.device)
    except BaseException as error:  # a bug is raised again, when the others have their results
        outcome.error = error


def own_line(report: Reporter, device: Device, devices: Sequence[Device]) -> Reporter:
    """A reporter whose task is the device, where there are several."""
    if len(devices) == 1:
        return report

    def prefixed(now: Progress) -> None:
        report(replace(now, task=device.name, note=f"{now.task}  {now.note}".rstrip()))

    return prefixed


def failure(outcomes: Sequence[Outcome[T]]) -> EdgepackError | None:
    """What to end with where devices failed; None where none did.

    Raises:
        BaseException: what ended the work on a device and is no `EdgepackError`: a bug.
    """
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, EdgepackError):
            raise outcome.error
    failed = {o.device.name: o.error for o in outcomes if isinstance(o.error, EdgepackError)}
    if not failed:
        return None
    if len(outcomes) == 1:
        return next(iter(failed.values()))
    return DeviceError(
        f"{len(failed)} of {len(outcomes)} devices failed: {', '.join(failed)}",
        "each says above what is wrong; the results of the others are whole",
    )
