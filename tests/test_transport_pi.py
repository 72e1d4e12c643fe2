"""A virtual Raspberry Pi over SSH: a password, permissions, a full disk, and power and cable."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from lab import faults
from lab.machine import VirtualPi

from edgepack.boards.files import push
from edgepack.boards.traces import clean
from edgepack.device import Device
from edgepack.errors import ConnectionLostError, DeviceError
from edgepack.progress import Progress
from edgepack.ssh import secrets
from edgepack.ssh.patience import Patience
from edgepack.transports.ssh import Ssh

SIZE = 2_000_000
PATIENT = Patience(pulse_s=2, silence_s=8, return_s=240, session_s=30, login_s=60)
"""The board is emulated, perhaps beside others, so everything takes its time."""


@pytest.fixture
def pi(virtual_pi: VirtualPi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VirtualPi:
    """The board, known to a user whose SSH configuration calls it `pi`, with its key."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(secrets, "_known", {})
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host pi\nHostName {virtual_pi.host}\nPort {virtual_pi.port}\nUser {virtual_pi.user}\n"
        f"UserKnownHostsFile {virtual_pi.known_hosts}\nIdentityFile {virtual_pi.key}\n"
    )
    return virtual_pi


@pytest.fixture
def ssh(pi: VirtualPi) -> Iterator[Ssh]:
    transport = Ssh(Device("pi", address="pi", folder=".edgepack-test"), patience=PATIENT)
    yield transport
    clean(transport)
    transport.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@contextmanager
def soon(fault: AbstractContextManager[None], after_s: float, for_s: float) -> Iterator[None]:
    """A fault of the board for a while, beside what the block does."""

    def befall() -> None:
        time.sleep(after_s)
        with fault:
            time.sleep(for_s)

    thread = threading.Thread(target=befall)
    thread.start()
    yield
    thread.join()


def test_a_password_of_the_environment_logs_in(
    pi: VirtualPi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / ".ssh" / "config"
    config.write_text(config.read_text().replace(f"IdentityFile {pi.key}", "IdentityFile none"))
    monkeypatch.setenv(secrets.PASSWORD, pi.password)
    ssh = Ssh(Device("pi", address="pi"), patience=PATIENT)
    assert ssh.run(["id", "-un"], timeout_s=60).stdout == "pi\n"
    ssh.close()
    monkeypatch.setenv(secrets.PASSWORD, "wrong")
    with pytest.raises(DeviceError, match="lets nobody in") as caught:
        Ssh(Device("pi", address="pi"), patience=PATIENT)
    assert "wrong" not in caught.value.message + caught.value.hint


def test_a_file_arrives_once(ssh: Ssh, file: Path) -> None:
    remote = push(ssh, file)
    told: list[Progress] = []
    assert push(ssh, file, told.append) == remote
    assert [progress.done for progress in told] == [SIZE]
    assert ssh.run(["cat", remote], timeout_s=60).output == file.read_bytes()


def test_a_missing_permission_is_told(pi: VirtualPi, file: Path) -> None:
    ssh = Ssh(Device("pi", address="pi", folder="/usr/lib/edgepack"), patience=PATIENT)
    with pytest.raises(DeviceError, match="Permission denied"):
        push(ssh, file)
    ssh.close()


def test_a_full_disk_is_told_and_left_clean(ssh: Ssh, pi: VirtualPi, file: Path) -> None:
    with faults.full_disk(pi, free_kib=1000), pytest.raises(DeviceError, match="MB are free"):
        push(ssh, file)
    looked = ssh.run(["find", ssh.folder, "-type", "f"], timeout_s=60)
    assert looked.stdout == ""
    assert push(ssh, file)


@pytest.mark.parametrize("fault", [faults.frozen, faults.unplugged])
def test_a_board_that_falls_silent_is_noticed(
    ssh: Ssh, pi: VirtualPi, fault: Callable[[VirtualPi], AbstractContextManager[None]]
) -> None:
    start = time.monotonic()
    with soon(fault(pi), after_s=2, for_s=14):
        with pytest.raises(ConnectionLostError, match="no answer for 8 s while sleep was running"):
            ssh.run(["sleep", "100"], timeout_s=200)
        assert time.monotonic() - start < 16
    assert ssh.run(["echo", "back"], timeout_s=60).stdout == "back\n"


def test_a_push_goes_on_after_a_power_cut(ssh: Ssh, pi: VirtualPi, file: Path) -> None:
    half, off = threading.Event(), threading.Event()
    pushed: list[str] = []

    def wait_at_half(progress: Progress) -> None:
        if progress.done > SIZE // 2:
            half.set()
            off.wait(60)

    worker = threading.Thread(target=lambda: pushed.append(push(ssh, file, wait_at_half)))
    worker.start()
    assert half.wait(60)
    with faults.power_cut(pi):
        off.set()
    worker.join(PATIENT.return_s)
    assert ssh.run(["cat", pushed[0]], timeout_s=60).output == file.read_bytes()
    left = ssh.run(["find", ssh.folder, "-name", "*.part"], timeout_s=60)
    assert left.stdout == "" and push(ssh, file) == pushed[0]
