"""The pinned runtimes on virtual Raspberry Pis that have nothing but Python, and in a bare Python.

The wheels come through pip and are kept in the user's cache. Debian's packages come through the
lab's proxy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import faults, image
from lab.machine import VirtualPi

from edgepack.boards import traces
from edgepack.boards.board import Board
from edgepack.boards.installation import Installation, Wish, provide
from edgepack.boards.probe import probe
from edgepack.device import FOLDER as SHARED
from edgepack.device import Device
from edgepack.errors import DeviceError
from edgepack.progress import Progress
from edgepack.transport import Transport
from edgepack.transports.local import Local
from edgepack.transports.ssh import Ssh

FOLDER = ".edgepack-provision"
SHOW = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy, {runtime}.interpreter as module
print(numpy.__version__, module.__file__)
"""

Connect = Callable[..., Ssh]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Logs in to boards, as a user with a home of the test's own and the cache of all tests."""
    opened: list[Ssh] = []

    def log_in(pi: VirtualPi, home: str = FOLDER) -> Ssh:
        folder = tmp_path / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(pi.key, folder / "id_ed25519")
        shutil.copy(pi.known_hosts, folder / "known_hosts")
        device = Device("pi", address=f"{pi.user}@{pi.host}:{pi.port}", folder=home)
        opened.append(Ssh(device))
        return opened[-1]

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(image.CACHE))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield log_in
    for transport in opened:
        transport.close()


def shown(transport: Transport, found: Installation) -> tuple[str, str]:
    """numpy's version, and where a program that is started as the agent is has its runtime from."""
    program = SHOW.format(runtime=found.runtime.replace("-", "_"))
    done = transport.run([*found.python, "-c", program, *found.packages], timeout_s=120)
    assert done.returncode == 0, done.stderr
    numpy, _, place = done.stdout.strip().partition(" ")
    return numpy, place


def packages_on(pi: VirtualPi) -> list[str]:
    """What may be taken for an installation there."""
    return pi.run(["sh", "-c", f"ls {FOLDER}/packages 2>/dev/null || true"]).split()


class Noted:
    """A reporter that remembers, and calls back when a task begins."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.sent_bytes = 0

    def __call__(self, progress: Progress) -> None:
        if progress.task == "push" and progress.done == 0:
            self.sent_bytes += progress.total
        self.notes.append(f"{progress.task} {progress.note}")


def test_bare_python_of_this_machine(tmp_path: Path) -> None:
    """The pinned wheels for x86-64, into an environment without pip and without numpy."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    transport = Local(Device("bare"))
    try:
        transport.python = str(bare / "bin/python")
        probed = probe(transport)
        interpreters = [
            e for e in probed.fact("python")["interpreters"] if e["path"].startswith(str(bare))
        ]
        board = Board({**probed.facts, "python": {"interpreters": interpreters}})
        transport.python = ""
        found = provide(transport, board)
        assert (found.runtime, found.version) == ("ai-edge-litert", "2.3.0")
        assert shown(transport, found)[1].startswith(found.packages[0])
    finally:
        transport.close()


# 64 bit


def test_board_that_lacks_libstdcxx_gets_a_command(virtual_pi: VirtualPi, connect: Connect) -> None:
    said = Noted()
    transport = connect(virtual_pi)
    with (
        faults.hidden(virtual_pi, faults.LIBSTDCXX),
        pytest.raises(DeviceError, match=r"libstdc\+\+\.so\.6 cannot be loaded") as caught,
    ):
        provide(transport, probe(transport), Wish(), said)
    assert "sudo apt install libstdc++6" in caught.value.hint and said.sent_bytes == 0


def test_64_bit_board_through_a_full_disk_and_a_power_cut(
    virtual_pi: VirtualPi, connect: Connect
) -> None:
    """In turns on one board, because every wheel that is sent takes an emulated board a while."""
    transport = connect(virtual_pi)
    board = probe(transport)
    said = Noted()
    with (
        faults.full_disk(virtual_pi, free_kib=50 << 10),
        pytest.raises(DeviceError, match=r"MiB are needed, \d+ MiB are free") as caught,
    ):
        provide(transport, board, Wish(), said)
    assert "--clean" in caught.value.hint and packages_on(virtual_pi) == []

    begun, failed = Noted(), list[DeviceError]()
    thread = threading.Thread(target=attempt, args=(transport, board, begun, failed))
    thread.start()
    wait_for_first_file(virtual_pi)
    # A board that another thread starts would end with that thread; and one that is back before
    # the connection is given up would be told to install once more.
    with faults.power_cut(virtual_pi):
        thread.join(120)
    assert failed and begun.sent_bytes == 0, "what a full disk kept in archives is there still"
    assert packages_on(virtual_pi) == []

    transport = connect(virtual_pi)
    found = check_provided(transport, board, "ai-edge-litert", "2.3.0")
    assert shown(transport, found)[0] == "1.26.4"
    traces.clean(transport)


def attempt(transport: Transport, board: Board, said: Noted, failed: list[DeviceError]) -> None:
    """Note why nothing is provided."""
    try:
        provide(transport, board, Wish(), said)
    except DeviceError as error:
        failed.append(error)


def wait_for_first_file(pi: VirtualPi) -> None:
    """Until the first file of a runtime is on a board's disk."""
    unpacked = f"ls -d {FOLDER}/packages/.part-*/wheels/ai_edge_litert 2>/dev/null || true"
    end = time.monotonic() + 120
    while not pi.run(["sh", "-c", unpacked]):
        assert time.monotonic() < end
        time.sleep(0.1)


def check_provided(transport: Transport, board: Board, runtime: str, version: str) -> Installation:
    """Provide a runtime twice, and see that it is sent once."""
    first, second = Noted(), Noted()
    begin = time.monotonic()
    found = provide(transport, board, Wish(), first)
    between = time.monotonic()
    assert provide(transport, board, Wish(), second) == found
    end = time.monotonic()
    assert (found.runtime, found.version, found.notes) == (runtime, version, ())
    assert second.notes == ["runtime look for one on the device"]
    seconds = f"first {between - begin:.1f} s, again {end - between:.1f} s"
    sys.stdout.write(f"{runtime} {version}: {seconds}\n")
    return found


# 32 bit


@pytest.mark.usefixtures("mirror")
def test_32_bit_board_gets_numpy_from_its_distribution(
    virtual_pi_armhf: VirtualPi, connect: Connect
) -> None:
    """What another test brought there already is the same."""
    transport = connect(virtual_pi_armhf, SHARED)
    board = probe(transport)
    assert board.architecture == "armv7l" and board.python and not board.python.packages
    found = check_provided(transport, board, "tflite-runtime", "2.14.0")
    numpy, place = shown(transport, found)
    assert numpy.startswith("1.24") and place.startswith(found.packages[0])


def test_32_bit_board_without_package_lists_gets_a_command(
    virtual_pi_armhf: VirtualPi, connect: Connect
) -> None:
    transport = connect(virtual_pi_armhf)
    with (
        faults.hidden(virtual_pi_armhf, "/var/lib/apt/lists"),
        pytest.raises(DeviceError, match="needs python3-numpy, which has no wheel") as caught,
    ):
        provide(transport, probe(transport))
    assert "type on the device: sudo apt-get update && sudo apt-get" in caught.value.hint
