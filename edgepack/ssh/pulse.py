"""Finds out that nobody is at the other end of a connection any more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from paramiko import SSHException, Transport
from paramiko.message import Message
from paramiko.packet import Packetizer

from edgepack.ssh.patience import Patience

REQUEST = "keepalive@openssh.com"


class CountingPacketizer(Packetizer):
    """Counts the messages that come in: whatever they say, somebody is there."""

    messages = 0

    def read_message(self) -> tuple[int, Message]:
        """The next message."""
        message = super().read_message()
        self.messages += 1
        return message


class Pulse:
    """Asks a silent server for an answer, and tells when none comes.

    A frozen device behind a proxy still acknowledges TCP, so only SSH itself can tell. Looks at
    the connection are counted rather than seconds: a stopped process or a suspended machine must
    not take its own absence for the server's.

    Args:
        transport: a connection with a `CountingPacketizer`.
        patience: how often to look, and for how long to bear silence.
        lost: called once, from another thread, when the server is gone.
    """

    def __init__(self, transport: Transport, patience: Patience, lost: Callable[[], None]) -> None:
        self._transport, self._patience, self._lost = transport, patience, lost
        self._stopped = threading.Event()
        self._asking: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._watch, name="edgepack-pulse", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self) -> None:
        packetizer = self._transport.packetizer
        assert isinstance(packetizer, CountingPacketizer)
        heard, silent = packetizer.messages, 0
        while not self._stopped.wait(self._patience.pulse_s) and self._transport.is_active():
            silent = 0 if packetizer.messages != heard else silent + 1
            heard = packetizer.messages
            if silent * self._patience.pulse_s >= self._patience.silence_s:
                self._lost()
                return
            if silent:
                self._ask()

    def _ask(self) -> None:
        """Ask in a thread of its own: where nothing is taken off the line, asking blocks, too."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._request, daemon=True)
            self._asking.start()

    def _request(self) -> None:
        with contextlib.suppress(SSHException, EOFError, OSError):
            self._transport.global_request(REQUEST, wait=True)
