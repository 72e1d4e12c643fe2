"""This machine as a device: programs start in its folder, and none outlives its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.device import local_device
from edgepack.errors import DeviceError
from edgepack.transport import Transport, connect


@pytest.fixture
def local() -> Iterator[Transport]:
    transport = connect(local_device())
    yield transport
    transport.close()


def test_programs_start_in_a_folder_that_goes_with_the_transport(local: Transport) -> None:
    assert local.run(["pwd"], timeout_s=5).stdout.strip() == local.folder
    local.run(["touch", "left"], timeout_s=5)
    assert (Path(local.folder) / "left").is_file() and local.python == sys.executable
    local.close()
    assert not Path(local.folder).exists()


def test_output_error_and_exit_code_are_kept_apart(local: Transport) -> None:
    done = local.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=5)
    assert (done.returncode, done.output, done.stderr) == (3, b"out\n", "err\n")
    assert local.run(["sh", "-c", "kill -11 $$"], timeout_s=5).returncode == -11


def test_arguments_reach_a_program_untouched(local: Transport) -> None:
    words = ["a b", "$HOME", "'", '"', "", "*", "\n", "ü"]
    done = local.run([sys.executable, "-c", "import sys; print(sys.argv[1:])", *words], timeout_s=9)
    assert done.stdout.strip() == str(words)


def test_much_input_and_output_pass_at_the_same_time(local: Transport) -> None:
    data = bytes(range(256)) * 40_000
    assert local.run(["cat"], timeout_s=20, stdin=data).output == data
    assert local.run(["cat"], timeout_s=20, stdin=(data[i::7] for i in range(7))).output[:2] == (
        b"\x00\x07"
    )


def test_a_program_need_not_read_its_input(local: Transport) -> None:
    done = local.run(["sh", "-c", "exit 4"], timeout_s=5, stdin=bytes(10_000_000))
    assert done.returncode == 4


def test_the_clock_restarts_with_input(local: Transport) -> None:
    def slowly() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.3)
            yield b"a"

    assert local.run(["cat"], timeout_s=0.9, stdin=slowly()).output == b"aaaa"


def test_a_program_and_its_children_are_killed_in_time(local: Transport) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"sh had not ended after 0\.5 s and was killed"):
        local.run(["sh", "-c", "echo $$ >pid; sleep 60 & sleep 60"], timeout_s=0.5)
    assert time.monotonic() - start < 5
    group = int((Path(local.folder) / "pid").read_text())
    assert group_is_gone(group)


def group_is_gone(group: int) -> bool:
    """Whether no process of a group runs, after the moment that its end may take."""
    for _ in range(50):
        stats = [stat_of(path) for path in Path("/proc").glob("[0-9]*")]
        alive = [stat for stat in stats if stat and int(stat[2]) == group and stat[0] != "Z"]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def stat_of(process: Path) -> list[str]:
    """State, parent, group, ... of a process; empty where it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def test_a_fault_of_the_input_reaches_the_caller(local: Transport) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        local.run(["cat"], timeout_s=30, stdin=broken())


def test_a_missing_program_is_named(local: Transport) -> None:
    with pytest.raises(DeviceError, match="no-such-program cannot be started"):
        local.run(["no-such-program"], timeout_s=5)
