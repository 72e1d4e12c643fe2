"""A connection to a device: through the servers on the way, each checked and logged in to."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Sequence

from paramiko import Channel, SSHException, Transport
from paramiko.ssh_exception import ChannelException

from edgepack.errors import ConnectionLostError, DeviceError
from edgepack.ssh import faults, host_key
from edgepack.ssh.bounded import within
from edgepack.ssh.host_key import Trust
from edgepack.ssh.known_hosts import HostKey
from edgepack.ssh.login import log_in
from edgepack.ssh.patience import Patience
from edgepack.ssh.pulse import CountingPacketizer, Pulse
from edgepack.ssh.route import Hop

CIPHERS = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
)
"""Those that encrypt and authenticate in one pass first; CBC modes are not offered."""
TRANSPORT_FAULTS = (SSHException, EOFError, OSError)

# Else Python's last resort prints what paramiko says of errors that are reported anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Connection:
    """A device that was logged in to.

    Args:
        route: the servers on the way; the last is the device.
        transports: logged in to each of them.
        patience: how long to bear silence.
    """

    def __init__(
        self, route: Sequence[Hop], transports: Sequence[Transport], patience: Patience
    ) -> None:
        self.device, self._transports, self._patience = route[-1], tuple(transports), patience
        self._why = "dropped"
        self._pulse = Pulse(transports[-1], patience, self._fall_silent)
        self._pulse.start()

    @property
    def alive(self) -> bool:
        """Whether it still holds, as far as is known."""
        return self._transports[-1].is_active()

    @property
    def cipher(self) -> str:
        """What the device and this machine agreed on."""
        return self._transports[-1].local_cipher

    def open(self) -> Channel:
        """A channel in which one program can run.

        Raises:
            ConnectionLostError: if the connection has dropped; nothing has run.
            DeviceError: if the server allows no further program.
        """
        try:
            return self._transports[-1].open_session(timeout=self._patience.session_s)
        except ChannelException as error:
            raise faults.no_session(self.device, error) from error
        except TRANSPORT_FAULTS as error:
            if self.alive:
                self.drop(f"let no program start within {self._patience.session_s:g} s")
            raise self.lost("a program was to start") from error

    def lost(self, doing: str) -> ConnectionLostError:
        """The error that tells that it was lost."""
        return ConnectionLostError(
            f"the connection to {self.device} {self._why} while {doing}",
            "look whether the device is still on and in the network, then do the same again",
        )

    def ended(self, timeout_s: float) -> bool:
        """Whether it has come to its end, or does so within a moment."""
        self._transports[-1].join(timeout_s)
        return not self.alive

    def drop(self, why: str) -> None:
        """Give it up, and let go all who wait for it."""
        self._why = why
        self.close()

    def close(self) -> None:
        """End it; the outermost first, so that nothing is waited for."""
        self._pulse.stop()
        _close(self._transports)

    def _fall_silent(self) -> None:
        self.drop(f"was given up: no answer for {self._patience.silence_s:g} s")


def connect(route: Sequence[Hop], patience: Patience, trust: Trust) -> Connection:
    """Log in to a device; where a connection breaks before that, a few times.

    Args:
        route: the servers on the way; the last is the device.
        patience: how long to wait, and how often to try.
        trust: in servers that no file knows; what is accepted is added to it.

    Raises:
        DeviceError: if a server cannot be reached, is not trusted, or lets nobody in.
    """
    for attempt in range(1, patience.attempts):
        try:
            return _connect(route, patience, trust)
        except faults.DroppedError:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
    return _connect(route, patience, trust)


def _connect(route: Sequence[Hop], patience: Patience, trust: Trust) -> Connection:
    transports: list[Transport] = []
    try:
        for number, hop in enumerate(route):
            line = (
                _tunnel(transports[-1], route[number - 1], hop, patience)
                if transports
                else _dial(hop, patience)
            )
            transports.append(_greet(line, hop, patience, trust))
            last = number == len(route) - 1
            log_in(transports[-1], hop, device=last, through=route[:number])
    except BaseException:
        _close(transports)
        raise
    return Connection(route, transports, patience)


def _dial(hop: Hop, patience: Patience) -> socket.socket:
    """A TCP connection; finding the name and every address of it have their time."""
    address, timeout_s = (hop.host, hop.port), patience.connect_s
    try:
        line = within(2 * timeout_s, lambda: socket.create_connection(address, timeout_s))
    except (OSError, EOFError) as error:
        raise faults.no_connection(hop, error, patience) from error
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        silence_ms = int(patience.silence_s * 1000)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
    return line


def _tunnel(through: Transport, last: Hop, hop: Hop, patience: Patience) -> Channel:
    """A way from one server to the next."""
    try:
        return through.open_channel(
            "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=patience.connect_s
        )
    except TRANSPORT_FAULTS as error:
        raise faults.no_tunnel(hop, last, error) from error


def _greet(line: socket.socket | Channel, hop: Hop, patience: Patience, trust: Trust) -> Transport:
    """Agree on keys with a server, and look whether it is the right one."""
    transport = Transport(line, packetizer_class=CountingPacketizer)
    transport.banner_timeout = transport.handshake_timeout = patience.login_s
    transport.auth_timeout = patience.login_s
    entries = host_key.entries_of(hop)
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    options.key_types = host_key.preferred(entries, options.key_types)
    try:
        _agree(transport, patience)
        found = transport.get_remote_server_key()
        key = HostKey(found.get_name(), found.asbytes())
        host_key.check(hop, key, entries, trust)
    except BaseException as error:
        transport.close()
        line.close()
        if isinstance(error, DeviceError) or not isinstance(error, TRANSPORT_FAULTS):
            raise
        raise faults.no_ssh(hop, error, patience) from error
    return transport


def _agree(transport: Transport, patience: Patience) -> None:
    """Exchange keys; paramiko itself says nothing where the time is over."""
    start = time.monotonic()
    try:
        transport.start_client(timeout=patience.login_s)
    except (SSHException, EOFError) as error:
        if time.monotonic() - start >= patience.login_s:
            raise TimeoutError from error
        raise
    if not transport.is_active() or transport.host_key is None:
        raise TimeoutError


def _close(transports: Sequence[Transport]) -> None:
    """Close the outermost first: the inner ones would say goodbye through it, and might block."""
    for transport in transports:
        with contextlib.suppress(*TRANSPORT_FAULTS):
            transport.close()
