"""A device behind an SSH server: programs run there, over one connection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgepack.conversation import converse
from edgepack.device import Device
from edgepack.errors import ConnectionLostError, DeviceError
from edgepack.ssh.patience import PATIENCE, Patience
from edgepack.transport import Completed

if TYPE_CHECKING:
    from edgepack.ssh.connection import Connection
    from edgepack.ssh.program import RemoteProgram


class Ssh:
    """A `Transport` to a device with an SSH server; logged in when this is made.

    A connection that drops is made anew for the next program. A program that it drops under is
    run again only where it is repeatable; then the device has a while to come back.

    Args:
        device: its address says where.
        accept_new_host_key: whether to trust and remember servers that were never seen before.
        patience: how long to wait, and how often to try again.

    Raises:
        DeviceError: if it cannot be reached, is not trusted, or lets nobody in.
    """

    def __init__(
        self,
        device: Device,
        *,
        accept_new_host_key: bool = False,
        patience: Patience = PATIENCE,
    ) -> None:
        from edgepack.ssh.host_key import Trust
        from edgepack.ssh.route import find_route

        self.folder, self.python = device.folder, ""
        self._trust, self._patience = Trust(accept_new_host_key), patience
        self._route = find_route(device.address)
        self._lock, self._gone = threading.Lock(), False
        self._connection = self._connect()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,
    ) -> Completed:
        """Run a program from the user's home folder there; connecting has times of its own."""
        again = repeatable and not isinstance(stdin, Iterator)
        return_s = self._patience.return_s if again else 0.0
        for _ in range(self._patience.repeats if again else 0):
            with contextlib.suppress(ConnectionLostError):
                return self._run_once(argv, stdin, timeout_s, return_s)
        return self._run_once(argv, stdin, timeout_s, return_s)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _run_once(
        self,
        argv: Sequence[str],
        stdin: bytes | Iterable[bytes],
        timeout_s: float,
        return_s: float,
    ) -> Completed:
        program = self._start(argv, return_s)
        try:
            return converse(program, stdin, timeout_s)
        except TimeoutError as error:
            raise DeviceError(
                f"{argv[0]} had not ended on {self._route[-1]} in {timeout_s:g} s and was killed",
                "allow more time, or look what keeps the device busy",
            ) from error
        finally:
            program.close()

    def _start(self, argv: Sequence[str], return_s: float) -> RemoteProgram:
        """Start a program, over a new connection where the old one turns out to have dropped."""
        from edgepack.ssh.program import RemoteProgram

        connection = self._reconnected(return_s)
        try:
            channel = connection.open()
        except ConnectionLostError:
            connection = self._reconnected(return_s)
            channel = connection.open()
        return RemoteProgram(connection, channel, argv, self._patience)

    def _connect(self) -> Connection:
        from edgepack.ssh.connection import connect

        return connect(self._route, self._patience, self._trust)

    def _reconnected(self, return_s: float) -> Connection:
        """The connection, made anew if it dropped; a device that is away has a while to come back.

        It is waited for once only: what cleans up after a failure must not wait again.
        """
        from edgepack.ssh.faults import AwayError, DroppedError

        with self._lock:
            deadline = time.monotonic() + (0.0 if self._gone else return_s)
            while not self._connection.alive:
                try:
                    self._connection = self._connect()
                    self._gone = False
                except (AwayError, DroppedError):
                    if time.monotonic() >= deadline:
                        self._gone = True
                        raise
                    time.sleep(self._patience.pause_s)
            return self._connection
