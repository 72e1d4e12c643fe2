"""A real OpenSSH server on this machine, with keys, ports and a home folder of its own.

Whoever runs the tests logs in by key. A login by password cannot work here: the server would
have to know the account's password; it offers the method and refuses every password. The virtual
Pi takes one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import keys
from lab.ports import HOST, free_ports, wait_for_ssh

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
PRIVILEGE_SEPARATION = Path("/run/sshd")
PASSPHRASE = "correct horse"
START_S = 20.0

CONFIG = """\
{listen}
{host_keys}
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PubkeyAuthentication yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
MaxStartups 100
MaxSessions 50
LogLevel VERBOSE
Subsystem sftp {sftp}
SetEnv {environment}
ForceCommand {folder}/at-home
"""

AT_HOME = """\
#!/bin/sh
# Programs start in a home of the lab's own, so that no test reaches the real one.
cd '{home}' || exit 1
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"; fi
exec "$SHELL" -l
"""


def missing() -> str:
    """Why no server can be started here; empty where one can."""
    for program in (PROGRAM, "ssh-keygen"):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: openssh-server, openssh-client)"
    if os.geteuid() == 0 and not PRIVILEGE_SEPARATION.is_dir():
        try:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        except OSError as error:
            return f"sshd needs {PRIVILEGE_SEPARATION}, which cannot be made: {error.strerror}"
    return ""


class Sshd:
    """A server that lets the current user in.

    Attributes:
        host, port, ports: where it listens; `port` is the first of `ports`.
        user: who may log in.
        keys: private keys that it takes, by type: ed25519, ecdsa, rsa, and `locked`, an ed25519
            key under the passphrase `PASSPHRASE`; `stranger` is a key that it does not take.
        home: where programs start, and their $HOME.
        known_hosts: a file that names its host keys on every port.
        log: what the server said.
    """

    def __init__(
        self, folder: Path, *, ports: int = 8, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.host, self.ports = HOST, tuple(free_ports(ports))
        self.port = self.ports[0]
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.home, self.log = folder / "home", folder / "sshd.log"
        self.known_hosts = folder / "known_hosts"
        self.environment = {"HOME": str(self.home), **(environment or {})}
        self.keys = self._client_keys()
        self._host_keys = self._new_host_keys("host")
        self._server: subprocess.Popen[bytes] | None = None
        self._write()
        self.known_hosts.write_text(keys.known_hosts(self.host, self.ports, self._host_keys))

    def start(self) -> None:
        """Start it and wait until it greets on its ports.

        Raises:
            RuntimeError: if it does not, with the end of its log.
        """
        command = [PROGRAM, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.log)]
        self._server = subprocess.Popen(command, start_new_session=True)
        if not all(wait_for_ssh(port, timeout_s=START_S) for port in self.ports):
            self.stop()
            raise RuntimeError(f"sshd did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End the server, its sessions, and the programs that they run."""
        if self._server is None:
            return
        for process in (*self._offspring(), self._server.pid):
            send(signal.SIGKILL, process)
        self._server.wait(timeout=10)
        self._server = None

    def restart(self) -> None:
        """Stop and start it on the same ports."""
        self.stop()
        self.start()

    def kill_sessions(self) -> int:
        """Kill the processes that serve connections, not the programs that they started.

        Returns:
            how many there were.
        """
        sessions = [p for p in self._offspring() if name_of(p) == "sshd"]
        for process in sessions:
            send(signal.SIGKILL, process)
        return len(sessions)

    def freeze(self) -> None:
        """Halt the server and all its sessions: connections stay open, nothing answers."""
        assert self._server
        for process in (self._server.pid, *self._offspring()):
            send(signal.SIGSTOP, process)

    def thaw(self) -> None:
        """Let go on what `freeze` halted."""
        assert self._server
        for process in (self._server.pid, *self._offspring()):
            send(signal.SIGCONT, process)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """A server that answers no more, for the length of a block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Closed ports for the length of a block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def other_host_keys(self) -> Iterator[None]:
        """A server with host keys that `known_hosts` contradicts, for the length of a block."""
        before = self._host_keys
        self._host_keys = self._new_host_keys("other")
        self._write()
        self.restart()
        try:
            yield
        finally:
            self._host_keys = before
            self._write()
            self.restart()

    def client(self, program: str = "ssh", *, port: int | None = None) -> list[str]:
        """The start of a command line of OpenSSH's own `ssh` or `scp` that gets in by key."""
        return [
            *(program, "-F", "none", "-i", str(self.keys["ed25519"])),
            *("-P" if program == "scp" else "-p", str(port or self.port)),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
        ]

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> str:
        """Run words of a shell command by OpenSSH's client and return what it printed."""
        command = [*self.client(), f"{self.user}@{self.host}", *argv]
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=True)
        return done.stdout.decode()

    def _client_keys(self) -> dict[str, Path]:
        folder = self.folder / "client"
        made = {kind: keys.make_key(folder / f"id_{kind}", kind) for kind in keys.TYPES}
        made["locked"] = keys.make_key(folder / "id_locked", passphrase=PASSPHRASE)
        lines = [keys.public(key) + "\n" for key in made.values()]
        (self.folder / "authorized_keys").write_text("".join(lines))
        return {**made, "stranger": keys.make_key(folder / "id_stranger")}

    def _new_host_keys(self, name: str) -> list[Path]:
        paths = {kind: self.folder / f"{name}_{kind}" for kind in keys.TYPES}
        return [p if p.is_file() else keys.make_key(p, kind) for kind, p in paths.items()]

    def _write(self) -> None:
        self.home.mkdir(exist_ok=True)
        at_home = self.folder / "at-home"
        at_home.write_text(AT_HOME.format(home=self.home))
        at_home.chmod(0o755)
        text = CONFIG.format(
            listen="\n".join(f"ListenAddress {self.host}:{port}" for port in self.ports),
            host_keys="\n".join(f"HostKey {key}" for key in self._host_keys),
            folder=self.folder,
            sftp="/usr/lib/openssh/sftp-server",
            environment=" ".join(f"{k}={v}" for k, v in self.environment.items()),
        )
        (self.folder / "sshd_config").write_text(text)

    def _offspring(self) -> list[int]:
        return offspring(self._server.pid) if self._server else []


def send(what: signal.Signals, process: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(process, what)
    except ProcessLookupError:
        return


def offspring(process: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    parents = {int(p.name): parent_of(int(p.name)) for p in Path("/proc").glob("[0-9]*")}
    found, generation = [], {process}
    while generation:
        generation = {child for child, parent in parents.items() if parent in generation}
        found += sorted(generation)
    return found


def parent_of(process: int) -> int:
    """The process that started a process; 0 where it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def name_of(process: int) -> str:
    """The name of a process's program; empty where it has ended."""
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
