"""Finds the private keys that may open a server: in the agent and in files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from paramiko import Agent, PKey, SSHException
from paramiko.agent import AgentKey
from paramiko.pkey import UnknownKeyType

from edgepack.ssh.bounded import within
from edgepack.ssh.route import Hop, default_identities
from edgepack.ssh.secrets import ask

KINDS = ("ssh-ed25519", "ecdsa-sha2-", "ssh-rsa")
"""The beginnings of the names of key types that paramiko can use."""
AGENT_S = 5.0
"""For the agent to list its keys: a forwarded one may be dead."""


@dataclass
class Keys:
    """The keys for one server in the order in which they are worth trying; closed by `with`.

    Attributes:
        hop: the server.
        locked: files whose passphrase nobody gave.
        useless: what holds no key that can be used, with the reason.
    """

    hop: Hop
    locked: list[Path] = field(default_factory=list)
    useless: list[str] = field(default_factory=list)
    _agent: Agent | None = None

    def __enter__(self) -> Self:
        try:
            self._agent = within(AGENT_S, Agent)
        except TimeoutError:
            self.useless.append("the SSH agent does not answer")
        except (SSHException, OSError) as error:
            self.useless.append(f"the SSH agent: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._agent:
            self._agent.close()

    def __iter__(self) -> Iterator[tuple[str, PKey]]:
        """What to call a key, and the key; passphrases are asked for last, one by one."""
        files = self._files()
        halves = [public_half(path) for path in files]
        keys = self._agent.get_keys() if self._agent else ()
        held = [key for key in keys if key.get_name().startswith(KINDS)]
        offered: set[bytes] = set()
        for words, key in self._ready(files, halves, held):
            if key.asbytes() not in offered:
                offered.add(key.asbytes())
                yield words, key
        for path, half in zip(files, halves, strict=True):
            if half not in offered and is_locked(path):
                yield from self._unlocked(path)

    def _files(self) -> list[Path]:
        """The files that are there; of those that are not, the user has named some."""
        missing = [path for path in self.hop.identity_files if not path.is_file()]
        self.useless += [f"{p}: no such file" for p in missing if p not in default_identities()]
        return [path for path in self.hop.identity_files if path not in missing]

    def _ready(
        self, files: list[Path], halves: list[bytes], held: list[AgentKey]
    ) -> Iterator[tuple[str, PKey]]:
        named = [key for key in held if key.asbytes() in halves]
        for key in named:
            yield _words(key), key
        for path in files:
            try:
                yield str(path), read_key(path)
            except TypeError:
                continue
            except (OSError, ValueError, UnknownKeyType, SSHException) as error:
                self.useless.append(f"{path}: {getattr(error, 'strerror', '') or 'no private key'}")
        if not self.hop.identities_only:
            for key in held:
                yield _words(key), key

    def _unlocked(self, path: Path) -> Iterator[tuple[str, PKey]]:
        key = ask(f"passphrase of {path}: ", lambda secret: _unlock(path, secret))
        if key:
            yield str(path), key
        else:
            self.locked.append(path)


def read_key(path: Path, passphrase: str | None = None) -> PKey:
    """The private key in a file.

    Raises:
        TypeError: if it needs a passphrase.
        ValueError: if the passphrase is wrong, or the file holds no key.
    """
    secret: Any = None if passphrase is None else passphrase.encode()
    return PKey.from_path(path, secret)


def is_locked(path: Path) -> bool:
    """Whether a file holds a private key under a passphrase."""
    try:
        read_key(path)
    except TypeError:
        return True
    except (OSError, ValueError, UnknownKeyType, SSHException):
        return False
    return False


def public_half(path: Path) -> bytes:
    """The public key that lies beside a private one; empty where none does."""
    try:
        words = path.with_name(path.name + ".pub").read_text(encoding="utf-8").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError, binascii.Error):
        return b""


def _unlock(path: Path, passphrase: str) -> PKey | None:
    try:
        return read_key(path, passphrase)
    except ValueError:
        return None


def _words(key: AgentKey) -> str:
    return f"the agent's key {key.comment or key.get_name()}"
