"""SSH keys that the lab makes for itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

TYPES = ("ed25519", "ecdsa", "rsa")
BITS = {"ed25519": (), "ecdsa": ("-b", "256"), "rsa": ("-b", "2048")}


def make_key(path: Path, kind: str = "ed25519", *, passphrase: str = "") -> Path:
    """Make a key pair, its public half in PATH.pub; returns the private half's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, *BITS[kind], "-N", passphrase, "-C", "lab"]
    subprocess.run([*command, "-f", str(path)], check=True, timeout=60)
    return path


def public(key: Path) -> str:
    """The public half of a key: its type and base64 text."""
    return " ".join(key.with_name(key.name + ".pub").read_text(encoding="utf-8").split()[:2])


def known_hosts(host: str, ports: Iterable[int], host_keys: Iterable[Path]) -> str:
    """The text of a known_hosts file that names a server's keys on each of its ports."""
    keys = [public(key) for key in host_keys]
    return "".join(f"[{host}]:{port} {key}\n" for port in ports for key in keys)


def client_home(folder: Path, *, host: str, user: str, key: Path, known_hosts: Path) -> Path:
    """Give a home folder an SSH configuration that opens a host; returns the folder."""
    ssh = folder / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "config").write_text(
        f"Host {host}\n  User {user}\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known_hosts}\n",
        encoding="utf-8",
    )
    return folder
