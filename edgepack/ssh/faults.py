"""Says in words what went wrong between here and an SSH server, and what to do."""

from __future__ import annotations

import errno
import socket

from paramiko.ssh_exception import ChannelException, IncompatiblePeer

from edgepack.errors import DeviceError
from edgepack.ssh.patience import Patience
from edgepack.ssh.route import Hop

AGAIN = "try again; if it comes back, look whether the device is overloaded, or still starting"


class DroppedError(DeviceError):
    """A connection broke before anybody had logged in; the next one may hold."""

    def __init__(self, message: str, hint: str = AGAIN) -> None:
        super().__init__(message, hint)


class AwayError(DeviceError):
    """A device that cannot be reached now, but may come back when it has started again."""


BROKEN = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def no_connection(hop: Hop, error: Exception, patience: Patience) -> DeviceError:
    """Why the port of a server could not be reached."""
    where = f"{hop.host} port {hop.port}"
    if isinstance(error, socket.gaierror):
        return DeviceError(
            f"there is no host {hop.host}: {error.strerror}",
            "check the spelling; a name that ends in .local needs mDNS (Debian: libnss-mdns), "
            "else name the IP address",
        )
    if isinstance(error, ConnectionRefusedError):
        return AwayError(
            f"{where} is closed: nothing listens there",
            "enable SSH on the device (on a Raspberry Pi: sudo raspi-config), or check the port",
        )
    if isinstance(error, TimeoutError):
        return AwayError(
            f"{where} did not answer within {patience.connect_s:g} s",
            "check that the device is on and in this network, and that no firewall is between",
        )
    if isinstance(error, BROKEN):
        return DroppedError(f"{where} ended the connection at once")
    hint = "check the address, and the network of this machine"
    if isinstance(error, OSError) and error.errno in UNREACHABLE:
        return AwayError(f"there is no way to {where}: {error.strerror}", hint)
    return DeviceError(f"{where} cannot be reached: {error}", hint)


def no_tunnel(hop: Hop, through: Hop, error: Exception) -> DeviceError:
    """Why one server could not be reached through another."""
    if isinstance(error, ChannelException):
        return AwayError(
            f"{through} cannot reach {hop.host} port {hop.port}: {error.text.lower()}",
            f"check the address as {through.host} sees it, and that it may forward "
            "(AllowTcpForwarding in its sshd_config)",
        )
    return DroppedError(f"{through} opened no way to {hop.host} port {hop.port}: {words(error)}")


def no_ssh(hop: Hop, error: Exception, patience: Patience) -> DeviceError:
    """Why a server that could be reached did not come to an agreement."""
    where = f"{hop.host} port {hop.port}"
    if isinstance(error, IncompatiblePeer):
        return DeviceError(
            f"{where} and edgepack have no algorithm in common: {error}",
            "update the device's SSH server",
        )
    if isinstance(error, TimeoutError):
        return AwayError(
            f"{where} did not greet as an SSH server within {patience.login_s:g} s",
            "the device may hang or be busy: look at it; or something else listens there",
        )
    return DroppedError(
        f"{where} ended the connection before the login: {words(error)}",
        "an SSH server that is busy does so (MaxStartups in its sshd_config); "
        "or something else listens there",
    )


def no_session(hop: Hop, error: ChannelException) -> DeviceError:
    """Why a server that let us in starts no program."""
    return DeviceError(
        f"{hop} starts no further program: {error.text.lower()}",
        "other programs run over the same connection: raise MaxSessions in its sshd_config, "
        "or let them end",
    )


def words(error: Exception) -> str:
    """What an exception says; its class where it says nothing."""
    return str(error) or type(error).__name__
