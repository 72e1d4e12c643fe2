"""``edgepack bench`` on devices of the lab, and what befalls them at chosen moments of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import image
from lab.machine import VirtualPi
from ssh_client import QUICK, Account
from tiny import CommandLine, Ran

from edgepack.bundle import write_bundle
from edgepack.commands import _console
from edgepack.progress import Progress, Reporter
from edgepack.ssh import secrets
from edgepack.ssh.patience import Patience
from edgepack.tflite.interpreter import Interpreter
from edgepack.transports.ssh import Ssh

FEW = ("--processes=1", "--seconds=0", "--runs=10")
"""The shortest measurement."""

LONG = ("--processes=1", "--seconds=20")
"""Time enough for a fault; the measurement does not come to its end."""

IMPATIENT = replace(QUICK, return_s=2.0)
SLOW = Patience(pulse_s=2, silence_s=8, return_s=120, session_s=30, login_s=60)
"""For a board that is emulated, perhaps beside others."""

START_S = 60.0


@dataclass
class Moment:
    """When a task is first reported, and what happens then."""

    words: str
    fault: Callable[[], object]
    beside: bool
    thread: threading.Thread | None = None
    error: BaseException | None = None

    def begin(self) -> None:
        """Let it happen."""
        self.thread = threading.Thread(target=self._happen)
        self.thread.start()
        if not self.beside:
            self.thread.join(START_S)

    def _happen(self) -> None:
        try:
            self.fault()
        except BaseException as error:
            self.error = error


@dataclass
class Bench:
    """``edgepack bench`` as a program that somebody disturbs.

    Attributes:
        edgepack: the command line.
        told: what the last run said of its progress.
    """

    edgepack: CommandLine
    told: list[Progress] = field(default_factory=list)
    _moments: list[Moment] = field(default_factory=list)

    def when(self, words: str, fault: Callable[[], object], *, beside: bool = True) -> None:
        """Let something happen as soon as the next run reports a task with these words.

        It goes on beside that, or waits for its end.
        """
        self._moments.append(Moment(words, fault, beside))

    def __call__(self, *words: str | Path) -> Ran:
        """Run it to its end; by then everything has happened that was to happen."""
        self.told.clear()
        ran = self.edgepack("bench", *words)
        moments, self._moments = self._moments, []
        for moment in moments:
            assert moment.thread, (moment.words, ran.err)
            moment.thread.join(START_S)
            if moment.error:
                raise moment.error
        return ran

    @contextmanager
    def progress(self, *, quiet: bool) -> Iterator[Reporter]:
        """What the command shows, with a look at it."""
        with _console.progress(quiet=quiet) as report:

            def tell(now: Progress) -> None:
                report(now)
                self.told.append(now)
                for moment in self._moments:
                    if not moment.thread and moment.words in f"{now.task} {now.done} {now.note}":
                        moment.begin()

            yield tell


@pytest.fixture
def bench(edgepack: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command, for a user without devices and history, with the wheels that are there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(image.CACHE))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    be_patient(monkeypatch, IMPATIENT)
    made = Bench(edgepack)
    monkeypatch.setattr("edgepack.commands.bench.progress", made.progress)
    return made


def be_patient(monkeypatch: pytest.MonkeyPatch, patience: Patience) -> None:
    """Let the command wait for devices as long as this."""
    monkeypatch.setitem(Ssh.__init__.__kwdefaults__, "patience", patience)


def make_bundle(folder: Path, model: Path, shape: tuple[int, ...]) -> Path:
    """A bundle with golden vectors, and with test data whose labels are what the host answers."""
    samples = np.random.default_rng(0).uniform(-1, 1, (12, *shape)).astype(np.float32)
    outputs = Interpreter(model.read_bytes(), ["x"], ["y"]).run({"x": samples})["y"]
    folder.mkdir()
    np.savez(folder / "data.npz", x_test=samples, y_test=outputs.argmax(1))
    np.savez(folder / "golden.npz", **{"input.x": samples[:8], "output.y": outputs[:8]})
    manifest = {
        "schema": 1,
        "model": {"path": "net.tflite"},
        "source": {"inputs": [["x"]], "outputs": [["y"]]},
        "data": str(folder / "data.npz"),
    }
    files = {"net.tflite": model, "golden.npz": folder / "golden.npz"}
    return write_bundle(folder / folder.name, files, manifest).path


def history(tmp_path: Path) -> list[str]:
    """The names of the devices of all benchmarks that were kept."""
    return sorted(path.parent.name for path in (tmp_path / "data").rglob("*.json"))


def whole(ran: Ran) -> list[dict[str, Any]]:
    """The benchmarks that a run with ``--json`` printed; its exit code is what they say."""
    assert ran.code in (0, 1), ran.err
    found: list[dict[str, Any]] = ran.json["benchmarks"]
    assert found and all(b["measurements"] for b in found)
    invalid = any(b["verdict"]["state"] == "invalid" for b in found)
    assert ran.code == invalid, (ran.code, ran.err)
    return found


def know(pi: VirtualPi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "pi") -> None:
    """Give the user an SSH configuration that calls a virtual board by a name, and patience."""
    be_patient(monkeypatch, SLOW)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(secrets, "_known", {})
    ssh = tmp_path / ".ssh"
    ssh.mkdir(exist_ok=True)
    with (ssh / "config").open("a", encoding="utf-8") as file:
        file.write(
            f"Host {name}\nHostName {pi.host}\nPort {pi.port}\nUser {pi.user}\n"
            f"UserKnownHostsFile {pi.known_hosts}\nIdentityFile {pi.key}\n"
        )


@dataclass(frozen=True)
class Desk:
    """A device behind an OpenSSH server of this machine; its runtime is brought along once.

    Attributes:
        account: the user.
        folder: edgepack's folder on the device, this test's own.
    """

    account: Account
    folder: Path

    def reach(self, port: int | None = None, name: str = "desk") -> None:
        """Call the device by a name, behind the server's port or a proxy's.

        Its lock is its own, because this machine has other users.
        """
        keys = {
            "address": self.account.address(port),
            "folder": str(self.folder),
            "lock": str(self.folder / "lock"),
        }
        with Path("devices.toml").open("a", encoding="utf-8") as file:
            file.write(f"[{name}]\n")
            file.writelines(f'{key} = "{value}"\n' for key, value in keys.items())

    def stock(self) -> None:
        """Have there what was brought along for other tests."""
        stock = self.account.server.home / "stock"
        stock.mkdir(exist_ok=True)
        (self.folder / "packages").symlink_to(stock)

    def agents(self, kind: str = "") -> list[int]:
        """The process ids of the agent's processes there."""
        return [
            int(path.name)
            for path in Path("/proc").glob("[0-9]*")
            if self._is_agent(words_of(path), kind)
        ]

    def agent(self, kind: str = "latency") -> int:
        """The process id of an agent's process, when it has begun."""
        wait_until(lambda: bool(self.agents(kind)))
        time.sleep(0.5)  # so that it is at work
        return self.agents(kind)[0]

    def rests(self) -> list[str]:
        """What a later run might take for something whole, or wait for."""
        wait_until(lambda: not self.agents())
        names = [path.name for path in self.folder.rglob("*")]
        return [name for name in names if name == "lock" or "part" in name]

    def _is_agent(self, words: list[str], kind: str) -> bool:
        program = f"{self.folder}/files/"
        starts = any(w.startswith(program) and w.endswith("/agent.pyz") for w in words)
        return starts and (not kind or kind in words)


def words_of(process: Path) -> list[str]:
    """The command line of a process; empty where it has ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def wait_until(true: Callable[[], bool], timeout_s: float = START_S) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def desk(account: Account, tmp_path: Path) -> Desk:
    """The device, with what earlier tests brought along; call it with `reach`."""
    found = Desk(account, tmp_path / "device")
    found.folder.mkdir()
    found.stock()
    return found


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What takes longer than that hangs."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def kill(process: int, what: int) -> None:
    """Send a signal."""
    os.kill(process, what)
