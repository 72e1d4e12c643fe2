"""Addresses of devices, as ``user@host:port`` or as a name of the user's SSH configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgepack.errors import InputError

SHAPE = re.compile(
    r"(?:(?P<user>[^@\s/]+)@)?"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+))"
    r"(?::(?P<port>\d{1,5}))?"
)
HINT = "write user@host, user@host:port or user@[IPv6]:port"


@dataclass(frozen=True)
class Address:
    """Where an SSH server is.

    Attributes:
        host: a name, an IP address without brackets, or an alias of the SSH configuration.
        user: who logs in there; empty where the configuration says it.
        port: 0 where the configuration says it.
    """

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")
        )


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        InputError: if it is none; one that holds a password is not repeated.
    """
    if ":" in text.partition("@")[0] and "@" in text:
        raise InputError(
            "an address holds no password",
            "write user@host; the password is asked for, or read from EDGEPACK_SSH_PASSWORD",
        )
    found = SHAPE.fullmatch(text)
    if not found or text.startswith("-"):
        hint = "put an IPv6 address in brackets: user@[fe80::1]" if text.count(":") > 1 else HINT
        raise InputError(f"{text!r} is no address", hint)
    port = int(found["port"] or 0)
    if found["port"] and not 0 < port < 1 << 16:
        raise InputError(f"{text!r} names port {port}", "a port is between 1 and 65535")
    return Address(found["literal"] or found["host"], found["user"] or "", port)
