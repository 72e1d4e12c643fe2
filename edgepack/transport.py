"""The contract of a transport: how to run programs on a device and to move files there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """A program that ended.

    Attributes:
        returncode: its exit code; -N where signal N killed it.
        stdout: what it wrote, decoded as UTF-8.
        stderr: likewise.
    """

    returncode: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """A way to reach one device; every method raises DeviceError where that fails.

    Attributes:
        folder: where edgepack's files live on the device.
        python: the Python interpreter there.
    """

    folder: str
    python: str

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run a program by its argument list, without a shell, and kill it after ``timeout_s``."""
        ...

    def put(self, local: Path, remote: str) -> None:
        """Copy a file to the device; it appears whole or not at all."""
        ...

    def get(self, remote: str, local: Path) -> None:
        """Copy a file from the device; it appears whole or not at all."""
        ...

    def close(self) -> None:
        """Let go of the device, and remove what was put there for this use only."""
        ...
