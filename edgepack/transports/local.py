"""This machine as a device: programs are child processes, files are copied into a folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgepack.errors import DeviceError
from edgepack.transport import Completed


class Local:
    """A `Transport` to this machine; its folder is a temporary one, gone after `close`.

    Args:
        address: of the device; this machine has none.
    """

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.folder = tempfile.mkdtemp(prefix="edgepack-")
        self.python = sys.executable

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run a child process in the folder."""
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=timeout_s, cwd=self.folder
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{argv[0]} had not ended after {timeout_s:g} s and was killed",
                "allow more time, or measure fewer runs",
            ) from error
        except OSError as error:
            raise DeviceError(f"{argv[0]} cannot be started: {error}") from error
        return Completed(done.returncode, _text(done.stdout), _text(done.stderr))

    def put(self, local: Path, remote: str) -> None:
        """Copy a file within this machine."""
        _copy(local, Path(remote))

    def get(self, remote: str, local: Path) -> None:
        """Copy a file within this machine."""
        _copy(Path(remote), local)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace")


def _copy(source: Path, destination: Path) -> None:
    part = destination.with_name(destination.name + ".part")
    try:
        shutil.copyfile(source, part)
        part.replace(destination)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DeviceError(f"{source} cannot be copied to {destination}: {error}") from error
