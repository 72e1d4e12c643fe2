"""A user with SSH keys, known hosts and a configuration of its own, for tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab.sshd import Sshd

from edgepack.device import Device
from edgepack.ssh import secrets
from edgepack.ssh.patience import Patience
from edgepack.transports.ssh import Ssh

QUICK = Patience(
    connect_s=3,
    login_s=5,
    session_s=3,
    pause_s=0.05,
    pulse_s=0.4,
    silence_s=2.0,
    return_s=15,
    kill_s=2,
)


@dataclass
class Account:
    """A home folder with ``.ssh`` in it, which ``HOME`` names; nothing is known or allowed yet.

    Attributes:
        server: the server that the addresses mean.
        home: the folder.
        opened: transports to close at the end.
    """

    server: Sshd
    home: Path
    opened: list[Ssh] = field(default_factory=list)

    @property
    def ssh(self) -> Path:
        return self.home / ".ssh"

    @property
    def known_hosts(self) -> Path:
        return self.ssh / "known_hosts"

    def take_key(self, kind: str = "ed25519", name: str = "id_ed25519") -> Path:
        """Have one of the server's keys, or the stranger's."""
        private = self.server.keys[kind]
        shutil.copy(private, self.ssh / name)
        shutil.copy(private.with_name(private.name + ".pub"), self.ssh / f"{name}.pub")
        return self.ssh / name

    def know(self, port: int) -> None:
        """Know the server's host keys behind a port, such as a proxy's."""
        lines = self.server.known_hosts.read_text().splitlines()
        first = f"[{self.server.host}]:{self.server.port} "
        keys = [line.removeprefix(first) for line in lines if line.startswith(first)]
        with self.known_hosts.open("a") as file:
            file.writelines(f"[{self.server.host}]:{port} {key}\n" for key in keys)

    def configure(self, text: str) -> None:
        """Write the SSH configuration; {port}, {port2}, ... {host} and {user} are the server's."""
        ports = {f"port{n}": port for n, port in enumerate(self.server.ports)}
        facts = {"host": self.server.host, "user": self.server.user, "port": self.server.port}
        (self.ssh / "config").write_text(text.format(**facts, **ports, ssh=self.ssh))

    def address(self, port: int | None = None) -> str:
        return f"{self.server.user}@{self.server.host}:{port or self.server.port}"

    def connect(
        self,
        address: str = "",
        *,
        folder: str = ".edgepack",
        accept: bool = False,
        patience: Patience = QUICK,
    ) -> Ssh:
        """Log in to an address; the server's first port where none is named."""
        device = Device("device", address=address or self.address(), folder=folder)
        self.opened.append(Ssh(device, accept_new_host_key=accept, patience=patience))
        return self.opened[-1]


@pytest.fixture
def stranger(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A user without keys, agent, password or known hosts."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv(secrets.PASSWORD, raising=False)
    monkeypatch.setattr(secrets, "_known", {})
    account = Account(sshd, home)
    yield account
    for transport in account.opened:
        transport.close()


@pytest.fixture
def account(stranger: Account) -> Account:
    """A user whom the server lets in, and who knows the server's host keys on all of its ports."""
    stranger.take_key()
    for port in stranger.server.ports:
        stranger.know(port)
    return stranger


Fault = Callable[[], object]
