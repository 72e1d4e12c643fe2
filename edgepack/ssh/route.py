"""The servers on the way to a device, by the user's SSH configuration."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.errors import InputError
from edgepack.ssh.address import Address, parse_address
from edgepack.ssh.config import read_config, user_folder

if TYPE_CHECKING:
    from paramiko import SSHConfig

PORT = 22
DEEPEST = 8
"""Hosts on the way, each of which may name another one before it."""
IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
USER_KNOWN_HOSTS = ("known_hosts", "known_hosts2")


@dataclass(frozen=True)
class Hop:
    """One SSH server to log in to.

    Attributes:
        host, port, user: where, and as whom.
        known_as: the name under which a known_hosts file has its key.
        identity_files: private keys to try.
        identities_only: whether of the agent's keys only those in ``identity_files`` are tried.
        user_known_hosts: the files of the user; a new key is written to the first.
        system_known_hosts: the files of the system.
        hash_known_hosts: whether a new key is written without its host's name in clear.
    """

    host: str
    port: int
    user: str
    known_as: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    user_known_hosts: tuple[Path, ...] = ()
    system_known_hosts: tuple[Path, ...] = ()
    hash_known_hosts: bool = False

    def __str__(self) -> str:
        return str(Address(self.host, self.user, self.port))


def default_identities() -> list[Path]:
    """The private keys that are tried where the configuration names none."""
    return [user_folder() / name for name in IDENTITIES]


def find_route(text: str) -> tuple[Hop, ...]:
    """The servers to log in to, one through the other; the last one is the device.

    Args:
        text: an address; its host may be an alias of the configuration.

    Raises:
        InputError: if the address or the configuration cannot be used.
    """
    from paramiko import SSHConfig
    from paramiko.ssh_exception import ConfigParseError

    address = parse_address(text)
    try:
        return _route(SSHConfig.from_text(read_config()), address, 0)
    except ConfigParseError as error:
        raise InputError(
            f"the SSH configuration cannot be read: {error}", f"look at {user_folder() / 'config'}"
        ) from error


def _route(config: SSHConfig, address: Address, depth: int) -> tuple[Hop, ...]:
    options: dict[str, Any] = dict(config.lookup(address.host))
    jumps = options.get("proxyjump", "none")
    hop = _hop(address, options)
    if jumps.lower() == "none":
        _refuse_command(address.host, options)
        return (hop,)
    if depth == DEEPEST:
        raise InputError(
            f"ProxyJump leads to {address.host} again and again",
            f"look for a circle in {user_folder() / 'config'}",
        )
    first, *further = [parse_address(jump.removeprefix("ssh://")) for jump in jumps.split(",")]
    between = [_hop(jump, dict(config.lookup(jump.host))) for jump in further]
    return (*_route(config, first, depth + 1), *between, hop)


def _refuse_command(host: str, options: dict[str, Any]) -> None:
    if options.get("proxycommand"):
        raise InputError(
            f"the SSH configuration reaches {host} by ProxyCommand, which edgepack does not run",
            "write ProxyJump HOST in its place, or name an address that can be reached directly",
        )


def _hop(address: Address, options: dict[str, Any]) -> Hop:
    host = str(options.get("hostname", address.host)).strip("[]")
    port = address.port or _port(address.host, str(options.get("port", PORT)))
    known_as = options.get("hostkeyalias") or (host if port == PORT else f"[{host}]:{port}")
    folder = user_folder()
    identities = options.get("identityfile", [str(path) for path in default_identities()])
    return Hop(
        host,
        port,
        address.user or options.get("user") or getpass.getuser(),
        known_as.lower(),
        tuple(Path(name).expanduser() for name in identities if name.lower() != "none"),
        options.get("identitiesonly", "no").lower() == "yes",
        _files(options.get("userknownhostsfile"), [str(folder / f) for f in USER_KNOWN_HOSTS]),
        _files(options.get("globalknownhostsfile"), list(SYSTEM_KNOWN_HOSTS)),
        options.get("hashknownhosts", "no").lower() == "yes",
    )


def _port(host: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise InputError(
            f"the SSH configuration of {host} has port {text!r}", "a port is between 1 and 65535"
        )
    return int(text)


def _files(named: str | None, default: list[str]) -> tuple[Path, ...]:
    names = named.split() if named else default
    return tuple(Path(name.strip('"')).expanduser() for name in names if name.lower() != "none")
