"""Reads and writes the files in which SSH clients remember the keys of hosts (sshd(8))."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgepack.errors import DeviceError

HASHED = "|1|"
REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass(frozen=True)
class HostKey:
    """The public key of a server: its type, such as ``ssh-ed25519``, and its bytes."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file.

    Attributes:
        path, line: where it stands.
        hosts: names and patterns with commas between them, or one hashed name.
        key: the key of these hosts.
        revoked: whether the key must not be trusted any more.
    """

    path: Path
    line: int
    hosts: str
    key: HostKey
    revoked: bool = False

    def names(self, host: str) -> bool:
        """Whether it is about a host: ``name``, or ``[name]:port`` where that is not 22."""
        if self.hosts.startswith(HASHED):
            return _is_hash_of(host, self.hosts)
        patterns = self.hosts.lower().split(",")
        if any(p.startswith("!") and _like(host, p[1:]) for p in patterns):
            return False
        return any(_like(host, pattern) for pattern in patterns)


def read_entries(paths: Iterable[Path], host: str) -> list[Entry]:
    """What files say of a host; missing and unreadable files, and lines that are none, say nothing.

    Certificate authorities are left out: edgepack asks servers for plain keys.
    """
    return [entry for path in paths for entry in _entries(path) if entry.names(host)]


def remember(path: Path, host: str, key: HostKey, *, hashed: bool) -> None:
    """Append a host's key to a file, as OpenSSH does, by one write.

    Raises:
        DeviceError: if the file cannot be written.
    """
    name = hash_of(host, os.urandom(20)) if hashed else host
    line = f"{name} {key.kind} {base64.b64encode(key.blob).decode()}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            file.write((b"" if _ends_a_line(descriptor) else b"\n") + line.encode())
    except OSError as error:
        raise DeviceError(
            f"the host key of {host} cannot be remembered in {path}: {error.strerror}",
            "make the file writable, or name another one by UserKnownHostsFile in ~/.ssh/config",
        ) from error


def hash_of(host: str, salt: bytes) -> str:
    """A host's name so that only who knows it can find it."""
    digest = hmac.new(salt, host.encode(), "sha1").digest()
    return f"{HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _is_hash_of(host: str, hashed: str) -> bool:
    parts = hashed.removeprefix(HASHED).split("|")
    try:
        salt = base64.b64decode(parts[0], validate=True)
    except binascii.Error:
        return False
    return len(parts) == 2 and hmac.compare_digest(hash_of(host, salt), hashed)


def _like(host: str, pattern: str) -> bool:
    """Only ``*`` and ``?`` are special: the brackets of ``[host]:port`` mean themselves."""
    return fnmatch.fnmatchcase(host, pattern.replace("[", "[[]"))


def _entries(path: Path) -> Iterable[Entry]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if marker == AUTHORITY or len(fields) < 3 or fields[0].startswith("#"):
            continue
        try:
            key = HostKey(fields[1], base64.b64decode(fields[2], validate=True))
        except (binascii.Error, ValueError):
            continue
        yield Entry(path, number, fields[0], key, marker == REVOKED)


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
