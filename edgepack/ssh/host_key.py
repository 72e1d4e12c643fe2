"""Decides whether a server is the one that it was before."""

from __future__ import annotations

import shlex
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field

from edgepack.errors import DeviceError
from edgepack.ssh.known_hosts import Entry, HostKey, read_entries, remember
from edgepack.ssh.route import Hop

ACCEPT = "--accept-new-host-key"
SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""The algorithms for a type of key, where they are not called like it."""


@dataclass(frozen=True)
class Trust:
    """What may be trusted that no file knows, for one use of a device.

    Attributes:
        accept_new: whether servers that were never seen before are accepted and remembered.
        accepted: the keys of those; the files may be ones that keep nothing.
    """

    accept_new: bool = False
    accepted: MutableMapping[Hop, HostKey] = field(default_factory=dict)


def entries_of(hop: Hop) -> list[Entry]:
    """What the user's and the system's files say of a server."""
    return read_entries([*hop.user_known_hosts, *hop.system_known_hosts], hop.known_as)


def preferred(entries: Sequence[Entry], algorithms: Sequence[str]) -> tuple[str, ...]:
    """Algorithms to ask a server for, those of keys that are known first."""
    kinds = dict.fromkeys(entry.key.kind for entry in entries if not entry.revoked)
    wanted = [name for kind in kinds for name in SIGNATURES.get(kind, (kind,))]
    known = [name for name in wanted if name in algorithms]
    return (*known, *(name for name in algorithms if name not in known))


def check(hop: Hop, key: HostKey, entries: Sequence[Entry], trust: Trust) -> None:
    """Refuse a server that is not known, unless it may be accepted and remembered.

    Raises:
        DeviceError: if it is unknown, or has another key than before, or one that was revoked.
    """
    same = [entry for entry in entries if entry.key == key]
    for entry in same:
        if entry.revoked:
            _refuse_revoked(hop, entry)
    trusted = [entry for entry in entries if not entry.revoked]
    if same:
        return
    if trusted:
        of_kind = [entry for entry in trusted if entry.key.kind == key.kind]
        _refuse_changed(hop, key, (of_kind or trusted)[0])
    if not trust.accept_new:
        _refuse_unknown(hop, key)
    before = trust.accepted.setdefault(hop, key)
    if before != key:
        raise DeviceError(
            f"the host key of {hop} has changed: it is {key.kind} {key.fingerprint}, but it was "
            f"{before.kind} {before.fingerprint} a moment ago",
            "somebody may be in between: look at the device before anything else",
        )
    if hop.user_known_hosts:
        remember(hop.user_known_hosts[0], hop.known_as, key, hashed=hop.hash_known_hosts)


def _refuse_unknown(hop: Hop, key: HostKey) -> None:
    raise DeviceError(
        f"the host key of {hop} is not known: {key.kind} {key.fingerprint}",
        f"compare it with what the device's own console shows (ssh-keygen -l -f "
        f"/etc/ssh/ssh_host_ed25519_key.pub, for instance), then add {ACCEPT}",
    )


def _refuse_changed(hop: Hop, key: HostKey, entry: Entry) -> None:
    path, name = shlex.quote(str(entry.path)), shlex.quote(hop.known_as)
    raise DeviceError(
        f"the host key of {hop} has changed: it is {key.kind} {key.fingerprint}, but line "
        f"{entry.line} of {entry.path} says {entry.key.kind} {entry.key.fingerprint}",
        "somebody may be in between; if the device was installed anew, type: "
        f"ssh-keygen -R {name} -f {path}",
    )


def _refuse_revoked(hop: Hop, entry: Entry) -> None:
    raise DeviceError(
        f"the host key of {hop} was revoked by line {entry.line} of {entry.path}",
        "give the device a new host key, and distrust what it said meanwhile",
    )
