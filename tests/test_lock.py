"""One session at a time on a board: real processes, real locks of the kernel's."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgepack.agent import lock
from edgepack.agent.refusal import RefusedError
from edgepack.boards import traces
from edgepack.boards.lock import Lease, hold
from edgepack.boards.renewal import renewed
from edgepack.device import local_device
from edgepack.errors import DeviceError
from edgepack.facts import lease as facts_lease
from edgepack.progress import Progress
from edgepack.runtime import Job
from edgepack.runtimes import litert
from edgepack.transports.local import Local

HOLDER = (
    "import sys, time\n"
    "from edgepack.agent import lock\n"
    "with lock.held(sys.argv[1], 'the holder', sys.argv[2]):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@contextmanager
def holder(file: Path, token: str = "other") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the file locked."""
    command = [sys.executable, "-c", HOLDER, str(file), token]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def lease(file: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(file.read_text())
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_lease_keeps_others_out_and_names_its_owner(file: Path) -> None:
    assert lock.take(str(file), "ann@desk", "a", 0) == {"file": str(file), "taken": True}
    refused = lock.take(str(file), "bob@desk", "b", 0)
    assert (refused["taken"], refused["owner"]) == (False, "ann@desk")
    assert 0 <= refused["held_s"] < 5
    assert lock.take(str(file), "ann@desk", "a", 0)["taken"]


def test_a_released_lease_is_free_and_only_its_session_releases_it(file: Path) -> None:
    lock.take(str(file), "ann", "a", 0)
    lock.release(str(file), "b")
    assert not lock.take(str(file), "bob", "b", 0)["taken"]
    lock.release(str(file), "a")
    assert lock.take(str(file), "bob", "b", 0)["taken"]


def test_a_lease_is_released_when_the_last_process_of_its_session_ends(file: Path) -> None:
    with holder(file, "a") as process:
        timer = threading.Timer(0.5, process.kill)
        timer.start()
        lock.release(str(file), "a")
        timer.join()
    assert not file.exists() and lock.take(str(file), "bob", "b", 0)["taken"]


def test_a_running_process_keeps_others_out_even_past_its_lease(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(file):
        monkeypatch.setattr(lock, "now_s", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 3600)
        refused = lock.take(str(file), "bob", "b", 0)
    assert (refused["taken"], refused["owner"]) == (False, "the holder")
    assert 3600 <= refused["held_s"] < 3700


def test_the_lease_of_a_killed_process_runs_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(file) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not lock.take(str(file), "bob", "b", 0)["taken"]
    later = lock.now_s() + lock.LEASE_S
    monkeypatch.setattr(lock, "now_s", lambda: later)
    assert lock.take(str(file), "bob", "b", 0)["taken"]


def test_a_power_cut_frees_the_board(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.take(str(file), "ann", "a", 0)
    monkeypatch.setattr(lock, "boot_id", lambda: "the next start")
    assert lock.take(str(file), "bob", "b", 0)["taken"]


def test_the_wall_clock_does_not_matter(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.take(str(file), "ann", "a", 0)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not lock.take(str(file), "bob", "b", 0)["taken"]


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 4096, '{"until_s": 1e99, "token": "x"}'])
def test_a_damaged_file_is_no_lease(file: Path, text: str) -> None:
    file.write_text(text)
    assert lock.take(str(file), "bob", "b", 0)["taken"]


def test_a_lease_from_the_far_future_is_none(file: Path) -> None:
    forged = {"token": "x", "boot_id": lock.boot_id(), "until_s": lock.now_s() + 1e6}
    file.write_text(json.dumps(forged))
    assert lock.take(str(file), "bob", "b", 0)["taken"]


def test_every_user_can_open_the_file_and_no_link_is_followed(file: Path, tmp_path: Path) -> None:
    lock.take(str(file), "ann", "a", 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(RefusedError):
        lock.take(str(link), "ann", "a", 0)
    assert not (tmp_path / "target").exists()


def test_what_is_no_file_of_its_own_is_refused_and_left_alone(file: Path, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.write_text("dear diary")
    file.hardlink_to(diary)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (file, pipe, tmp_path):
        with pytest.raises(RefusedError) as caught:
            lock.take(str(path), "mallory", "m", 0)
        assert caught.value.kind == "lock"
    assert diary.read_text() == "dear diary" and stat.S_IMODE(diary.stat().st_mode) != 0o666


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_finds_the_board_in_use(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o1777)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    file = public / "lock"
    lock.take(str(file), "ann", "a", 0)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(10 + lock.take(str(file), "nobody", "b", 0)["taken"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10


def test_many_sessions_never_measure_at_once(file: Path, tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from edgepack.agent import lock\n"
        "path, mark, token = sys.argv[1:]\n"
        "for _ in range(15):\n"
        "    while not lock.take(path, token, token, 5)['taken']:\n"
        "        pass\n"
        "    with lock.held(path, token, token):\n"
        "        os.mkdir(mark)\n"
        "        time.sleep(0.002)\n"
        "        os.rmdir(mark)\n"
        "    lock.release(path, token)\n"
    )
    command = [sys.executable, "-c", program, str(file), str(tmp_path / "mark")]
    started = [subprocess.Popen([*command, f"session {i}"]) for i in range(4)]
    assert [process.wait(timeout=60) for process in started] == [0] * 4


def test_a_removed_file_does_not_let_two_in(file: Path) -> None:
    with holder(file):
        file.unlink()
        assert lock.take(str(file), "bob", "b", 0)["taken"]
        with pytest.raises(lock.BusyError):
            lock.locked(str(file), "c")


def test_the_lock_of_a_board_lies_where_all_users_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    for folder, mode in ((tmp_path / "private", 0o755), (shared, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(lock, "PUBLIC", (str(tmp_path / "private"), str(shared)))
    assert lock.place() == str(shared / lock.NAME)


def test_the_host_knows_where_the_lock_lies_and_how_long_a_lease_lasts() -> None:
    """The agent imports nothing of the host, nor the host what only Linux has."""
    assert tuple(f"{folder}/{lock.NAME}" for folder in lock.PUBLIC) == traces.LOCKS
    assert facts_lease.LEASE_S == lock.LEASE_S


# From the host


def own(transport: Local) -> str:
    """A lock that no other test has to do with."""
    return f"{transport.folder}/lock"


@pytest.fixture
def transport() -> Iterator[Local]:
    local = Local(local_device())
    yield local
    local.close()


@pytest.fixture
def command(transport: Local) -> tuple[str, str]:
    agent = Path(transport.folder) / "agent.pyz"
    agent.write_bytes(litert.agent())
    return (sys.executable, str(agent))


def test_hold_claims_jobs_and_lets_go(transport: Local, command: tuple[str, str]) -> None:
    with hold(transport, command, "ann@desk", file=own(transport)) as held:
        job = held.claim(Job("m.tflite"))
        assert (job.lock, job.owner, job.token) == (held.file, "ann@desk", held.token)
        assert lease(Path(held.file))["owner"] == "ann@desk"
        assert "temperatures_c" in held.state()
    assert not Path(held.file).exists()


def test_two_sessions_take_turns(transport: Local, command: tuple[str, str]) -> None:
    said: list[Progress] = []
    inside: list[str] = []

    def second() -> None:
        with hold(transport, command, "bob@desk", 60, said.append, own(transport)):
            inside.append("bob")

    thread = threading.Thread(target=second)
    with hold(transport, command, "ann@desk", file=own(transport)):
        thread.start()
        while not said:
            time.sleep(0.05)
        inside.append("ann")
    thread.join(30)
    assert inside == ["ann", "bob"]
    assert "ann@desk has had it for" in said[0].note


def test_who_waits_too_long_is_told_who_has_it(transport: Local, command: tuple[str, str]) -> None:
    with (
        hold(transport, command, "ann@desk", file=own(transport)),
        pytest.raises(DeviceError, match=r"in use: ann@desk has had it for \d+ s") as caught,
        hold(transport, command, "bob@desk", wait_s=0.5, file=own(transport)),
    ):
        pass
    assert caught.value.exit_code == 4 and caught.value.hint


def test_a_session_that_lost_the_board_does_not_measure(
    transport: Local, command: tuple[str, str], models: Path
) -> None:
    with hold(transport, command, "ann@desk", file=own(transport)) as held:
        file = Path(held.file)
        file.write_text(file.read_text().replace(held.token, "another").replace("ann", "bob"))
        job = held.claim(Job(str(models / "hello_world_int8.tflite")))
        done = transport.run(litert.command(command[:1], command[1], job), timeout_s=60)
        with pytest.raises(DeviceError, match="in use: bob@desk has the board"):
            litert.parse(done.stdout)
        with pytest.raises(DeviceError, match="bob@desk has the board"):
            held.state()


def test_a_measuring_process_holds_the_lock_and_renews_the_lease(
    transport: Local, command: tuple[str, str], models: Path
) -> None:
    with hold(transport, command, "ann@desk", file=own(transport)) as held:
        before = lease(Path(held.file))
        job = held.claim(Job(str(models / "hello_world_int8.tflite"), seconds=0.5, warmup_s=0.5))
        argv = litert.command(command[:1], command[1], job)
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(0.8)
        with pytest.raises(lock.BusyError):
            lock.locked(held.file, held.token)
        assert process.communicate(timeout=60)[0]
        after = lease(Path(held.file))
        assert after["until_s"] > before["until_s"]  # type: ignore[operator]
        assert after["since_s"] == before["since_s"]


def test_a_lock_that_cannot_be_written_says_so(transport: Local, command: tuple[str, str]) -> None:
    lost = Lease(transport, command, "ann", "a", "/proc/no/such/lock")
    with pytest.raises(DeviceError, match="/proc/no/such/lock") as caught:
        lost.state()
    assert "permissions" in caught.value.hint


def test_a_lease_is_renewed_while_nothing_is_measured(
    transport: Local, command: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepack.boards.renewal.EVERY_S", 0.1)
    with hold(transport, command, "ann@desk", file=own(transport)) as held:
        before = lease(Path(held.file))["until_s"]
        with renewed(held):
            time.sleep(1.5)
        after = lease(Path(held.file))["until_s"]
        time.sleep(0.5)
        assert before < after == lease(Path(held.file))["until_s"]  # type: ignore[operator]


ODD_ANSWERS = [
    "[]",
    "{}",
    "null",
    "1" * 5000,
    '{"taken": 1}',
    '{"taken": true}',
    '{"taken": true, "file": 7}',
    '{"taken": false, "owner": "bob", "held_s": "long"}',
    '{"taken": false, "owner": "bob", "held_s": NaN}',
    '{"taken": false, "held_s": 1}',
    '{"error": "lock"}',
    '{"error": {"kind": "new", "message": "m"}}',
    '{"error": {"kind": [], "message": "m"}}',
    '{"error": {"kind": "lock"}}',
    "",
]


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=lambda answer: answer[:60])
def test_whatever_a_board_answers_is_its_own_fault(
    transport: Local, tmp_path: Path, answer: str
) -> None:
    said = tmp_path / "answer"
    said.write_text(answer)
    command = ("sh", "-c", f"cat {said}")
    with (
        pytest.raises(DeviceError, match=r"cannot be read|gives no answer") as caught,
        hold(transport, command, "ann@desk", wait_s=0, file=own(transport)),
    ):
        pass
    assert caught.value.hint


@pytest.mark.parametrize("answer", ['{"temperatures_c": ["hot"]}', '{"temperatures_c": 4}', "[]"])
def test_a_state_of_a_wrong_type_is_the_boards_fault(transport: Local, answer: str) -> None:
    odd = Lease(transport, ("sh", "-c", f"echo '{answer}'"), "ann", "a", own(transport))
    with pytest.raises(DeviceError, match="cannot be read"):
        odd.temperature_c()


def test_a_board_without_a_sensor_has_no_temperature(transport: Local) -> None:
    mute = Lease(transport, ("sh", "-c", "echo '{}'"), "ann", "a", own(transport))
    assert mute.temperature_c() is None
