"""This machine as a device: programs are child processes in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path

from edgepack.conversation import converse
from edgepack.device import Device
from edgepack.errors import DeviceError
from edgepack.transport import Completed

PIECE = 1 << 16


class Local:
    """A `Transport` to this machine; its folder is a temporary one, gone after `close`."""

    def __init__(self, device: Device, *, accept_new_host_key: bool = False) -> None:  # noqa: ARG002
        self.folder = tempfile.mkdtemp(prefix="edgepack-")
        self.python = sys.executable

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,  # noqa: ARG002 no connection can drop
    ) -> Completed:
        """Run a child process in the folder."""
        try:
            Path(self.folder).mkdir(mode=0o700, exist_ok=True)
            child = _Child(argv, self.folder)
        except OSError as error:
            raise DeviceError(
                f"{argv[0]} cannot be started: {error}", "see whether it is installed here"
            ) from error
        try:
            return converse(child, stdin, timeout_s)
        except TimeoutError as error:
            raise DeviceError(
                f"{argv[0]} had not ended after {timeout_s:g} s and was killed",
                "allow more time, or measure fewer runs",
            ) from error

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Child:
    """A child process with all that it starts, as a `Program`."""

    def __init__(self, argv: Sequence[str], folder: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
        )

    def write(self, data: memoryview) -> int:
        stream = self._stream("stdin")
        try:
            return stream.write(data)
        except BrokenPipeError:
            stream.close()
            raise

    def end_input(self) -> None:
        self._stream("stdin").close()

    def read(self) -> bytes:
        return _read(self._stream("stdout"))

    def read_error(self) -> bytes:
        return _read(self._stream("stderr"))

    def wait(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _stream(self, name: str) -> FileIO:
        stream = getattr(self._process, name)
        assert isinstance(stream, FileIO)
        return stream


def _read(stream: FileIO) -> bytes:
    piece = stream.read(PIECE)
    if not piece:
        stream.close()
    return piece
