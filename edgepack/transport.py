"""The contract of a transport: how to run programs on a device."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from edgepack import plugins
from edgepack.device import Device
from edgepack.errors import DeviceError

MOST_OUTPUT_BYTES = 256 << 20
MOST_ERROR_BYTES = 8 << 20
"""What `Transport.run` keeps of a program: far more than any of edgepack's says."""


@dataclass(frozen=True)
class Completed:
    """A program that ended.

    Attributes:
        returncode: its exit code; -N where signal N killed it.
        output: the bytes that it wrote to standard output.
        stderr: what it wrote to standard error, decoded as UTF-8.
    """

    returncode: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """The output, decoded as UTF-8."""
        return self.output.decode("utf-8", errors="replace")

    @property
    def killer(self) -> str:
        """The signal that killed it, such as ``SIGILL``; empty where none did."""
        if self.returncode >= 0:
            return ""
        number = -self.returncode
        known = {each.value: each.name for each in signal.Signals}
        return known.get(number, f"signal {number}")


class Transport(Protocol):
    """A way to reach one device; every method raises DeviceError where that fails.

    A transport does no more than run programs: files are moved and read by programs, too. Programs
    may run at the same time, from several threads.

    Attributes:
        folder: where edgepack's files live on the device; programs start in a folder from where
            it can be reached, so it may be relative.
        python: the interpreter that has a runtime; empty where one is to be looked for.
    """

    folder: str
    python: str

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,
    ) -> Completed:
        """Run a program by its argument list; one that says more than the limits is killed.

        Args:
            argv: the program and its arguments; no shell interprets them.
            timeout_s: the program is killed this long after it started, or after it last took
                bytes of ``stdin``.
            stdin: what it reads; closed after that.
            repeatable: whether it may be run once more where the connection drops.
        """
        ...

    def close(self) -> None:
        """Let go of the device, and remove what was put there for this use only."""
        ...


class Connect(Protocol):
    """What the class of a transport is: making one reaches the device, or raises DeviceError."""

    def __call__(self, device: Device, *, accept_new_host_key: bool = False) -> Transport:
        """Reach a device.

        Args:
            device: its ``address`` and ``folder`` say where.
            accept_new_host_key: whether a device that was never seen before may be trusted and
                remembered; one that changed its key never is.
        """
        ...


def connect(device: Device, *, accept_new_host_key: bool = False) -> Transport:
    """Reach a device by the transport that it names; close what this returns.

    A password or a passphrase may be asked for, so nothing else should write to the terminal.

    Raises:
        DeviceError: if it cannot be reached.
    """
    module = plugins.load("transports", device.transport, DeviceError)
    return cast(Connect, plugins.class_of(module))(device, accept_new_host_key=accept_new_host_key)
