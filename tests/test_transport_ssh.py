"""Programs on a device behind a real OpenSSH server, and what happens when the link fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lab.fault_proxy import Cut, FaultProxy
from lab.ports import free_ports
from paramiko.packet import Packetizer
from ssh_client import QUICK, Account

from edgepack import conversation, transport
from edgepack.errors import ConnectionLostError, DeviceError
from edgepack.plugins import PACKAGE
from edgepack.transports.ssh import Ssh


@pytest.fixture
def proxy(account: Account) -> Iterator[FaultProxy]:
    """A fault proxy before the server, whose host keys the user knows there, too."""
    with FaultProxy(account.server.port) as running:
        account.know(running.port)
        yield running


@pytest.fixture
def ssh(account: Account, proxy: FaultProxy) -> Ssh:
    """A transport through the fault proxy."""
    return account.connect(account.address(proxy.port))


@contextmanager
def soon(fault: Callable[[], object], after_s: float = 0.5) -> Iterator[None]:
    """Let something happen while the block runs."""
    timer = threading.Timer(after_s, fault)
    timer.start()
    yield
    timer.join()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def runs(pattern: str) -> bool:
    """Whether a program runs on this machine whose command line holds a text."""
    done = subprocess.run(["pgrep", "-f", pattern], capture_output=True, check=False)
    return done.returncode == 0


# Programs


def test_programs_start_in_the_home_of_the_device(ssh: Ssh, account: Account) -> None:
    assert ssh.run(["pwd"], timeout_s=10).stdout.strip() == str(account.server.home)
    assert (ssh.folder, ssh.python) == (".edgepack", "")


def test_output_error_and_exit_code_are_kept_apart(ssh: Ssh) -> None:
    done = ssh.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=10)
    assert (done.returncode, done.output, done.stderr) == (3, b"out\n", "err\n")
    assert ssh.run(["no-such-program"], timeout_s=10).returncode == 127


@pytest.mark.parametrize("signal", [6, 9, 11, 15])
def test_signals_are_told(ssh: Ssh, signal: int) -> None:
    kill = f"import os; os.kill(os.getpid(), {signal})"
    assert ssh.run([sys.executable, "-c", kill], timeout_s=10).returncode == -signal
    assert ssh.run(
        ["sh", "-c", f"sh -c 'kill -{signal} $$'; exit $?"], timeout_s=10
    ).returncode == (-signal)


def test_arguments_reach_a_program_untouched(ssh: Ssh) -> None:
    words = ["a b", "$HOME", "'", '"', "", "*", "\n", "ü", "!", "\\", "-n"]
    done = ssh.run([sys.executable, "-c", "import sys; print(sys.argv[1:])", *words], timeout_s=10)
    assert done.stdout.strip() == str(words)


def test_noise_of_the_users_shell_is_left_out(ssh: Ssh, account: Account) -> None:
    profile = account.server.home / ".bashrc"
    profile.write_text("echo Welcome to your board; printf 'no line end'\n")
    try:
        assert ssh.run(["echo", "own"], timeout_s=10).output == b"own\n"
        profile.write_text("echo This account is closed; exit 1\n")
        with pytest.raises(DeviceError, match="did not start echo: This account is closed"):
            ssh.run(["echo", "own"], timeout_s=10)
    finally:
        profile.unlink()


def test_much_input_and_output_pass_at_the_same_time(ssh: Ssh) -> None:
    data = os.urandom(8_000_000)
    both = "import sys; d = sys.stdin.buffer.read(); sys.stderr.write('e' * 3000000); "
    both += "sys.stdout.buffer.write(d)"
    done = ssh.run([sys.executable, "-c", both], timeout_s=30, stdin=data)
    assert done.output == data and len(done.stderr) == 3_000_000
    assert ssh.run(["cat"], timeout_s=30, stdin=iter([data[:9], b"", data[9:]])).output == data


@pytest.mark.parametrize(("stream", "limit"), [("", "OUTPUT"), (">&2", "ERROR")])
def test_a_program_that_says_too_much_is_killed(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch, stream: str, limit: str
) -> None:
    monkeypatch.setattr(transport, f"MOST_{limit}_BYTES", 1 << 20)
    with at_most(8), pytest.raises(DeviceError, match="said more than 1 MiB and was killed"):
        ssh.run(["sh", "-c", f"yes flood-of-words {stream}"], timeout_s=60)
    assert not runs("yes flood-of-words")
    enough = ssh.run(["sh", "-c", f"head -c 1048576 /dev/zero {stream}"], timeout_s=10)
    assert len(enough.output) + len(enough.stderr) == 1 << 20


def test_a_shell_with_too_much_noise_is_given_up(ssh: Ssh, account: Account) -> None:
    profile = account.server.home / ".bashrc"
    profile.write_text("yes noise | head -c 3000000\n")
    try:
        with at_most(8), pytest.raises(DeviceError, match=r"did not start true: [noise]+$"):
            ssh.run(["true"], timeout_s=60)
    finally:
        profile.unlink()


def test_keys_are_exchanged_again_in_between(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Packetizer, "REKEY_BYTES", 1 << 20)
    ssh, data = account.connect(), os.urandom(8_000_000)
    assert ssh.run(["cat"], timeout_s=60, stdin=data).output == data


def test_a_program_need_not_read_its_input(ssh: Ssh) -> None:
    done = ssh.run(["sh", "-c", "exit 4"], timeout_s=20, stdin=bytes(20_000_000))
    assert done.returncode == 4


def test_programs_run_at_the_same_time(ssh: Ssh) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(
            target=lambda n=n: results.append(
                ssh.run(["sh", "-c", f"sleep 0.5; echo {n}"], timeout_s=10).stdout.strip()
            )
        )
        for n in range(5)
    ]
    with at_most(2.4):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == ["0", "1", "2", "3", "4"]


def test_more_programs_than_the_server_allows_are_refused_clearly(ssh: Ssh) -> None:
    channels = [ssh._connection.open() for _ in range(50)]
    with pytest.raises(DeviceError, match="starts no further program") as caught:
        ssh.run(["true"], timeout_s=10)
    assert "MaxSessions" in caught.value.hint
    for channel in channels:
        channel.close()
    time.sleep(0.5)
    assert ssh.run(["true"], timeout_s=10).returncode == 0


# Time


def test_a_program_and_its_children_are_killed_in_time(ssh: Ssh) -> None:
    with at_most(4), pytest.raises(DeviceError, match=r"sh had not ended on .* in 0\.5 s and was"):
        ssh.run(["sh", "-c", "sleep 61.25 & sleep 61.25"], timeout_s=0.5)
    assert not runs("sleep 61.25")
    assert ssh.run(["true"], timeout_s=10).returncode == 0


def test_the_clock_restarts_with_input(ssh: Ssh) -> None:
    def slowly() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.5)
            yield b"a"

    assert ssh.run(["cat"], timeout_s=1.5, stdin=slowly()).output == b"aaaa"


def test_a_program_that_takes_no_input_is_killed_in_time(ssh: Ssh) -> None:
    with at_most(6), pytest.raises(DeviceError, match="had not ended"):
        ssh.run(["sleep", "61.5"], timeout_s=1, stdin=bytes(20_000_000))
    assert not runs("sleep 61.5")


def test_input_that_is_taken_bit_by_bit_is_given_up(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bit that is taken puts off the deadline, so that alone would never end it."""
    monkeypatch.setattr(conversation, "SLOWEST_INPUT_BYTES_PER_S", 400_000)
    monkeypatch.setattr(conversation, "INPUT_WINDOW_S", 3.0)
    bits = "import os, time\nwhile os.read(0, 8192): time.sleep(0.05)  # bit by bit"
    with at_most(20), pytest.raises(DeviceError, match="too slow, and was killed"):
        ssh.run([sys.executable, "-c", bits], timeout_s=5, stdin=bytes(20_000_000))
    assert not runs("# bit by bit")


def test_slow_input_is_not_taken_for_a_slow_device(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "INPUT_WINDOW_S", 0.5)

    def slowly() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.5)
            yield b"a"

    assert ssh.run(["cat"], timeout_s=5, stdin=slowly()).output == b"aaaa"


def test_a_program_on_a_frozen_device_is_given_up_in_time(account: Account) -> None:
    patient = replace(QUICK, pulse_s=20, silence_s=60)
    ssh = account.connect(patience=patient)
    threading.Timer(0.5, account.server.freeze).start()
    try:
        with at_most(1 + QUICK.kill_s + 1), pytest.raises(DeviceError, match="had not ended"):
            ssh.run(["sleep", "3"], timeout_s=1)
    finally:
        account.server.thaw()
    assert ssh.run(["echo", "back"], timeout_s=10).stdout == "back\n"


# No connection


def test_a_closed_port_is_told_at_once(account: Account) -> None:
    (port,) = free_ports(1)
    with at_most(1), pytest.raises(DeviceError, match=f"port {port} is closed") as caught:
        account.connect(account.address(port))
    assert "enable SSH" in caught.value.hint


def test_an_unknown_host_is_told(account: Account) -> None:
    with at_most(10), pytest.raises(DeviceError, match=r"no host nowhere\.invalid") as caught:
        account.connect("pi@nowhere.invalid")
    assert "spelling" in caught.value.hint


def test_a_server_that_says_nothing_is_given_up(account: Account) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        at_most(QUICK.login_s + 3),
        pytest.raises(DeviceError, match="did not greet as an SSH server within 5 s"),
    ):
        account.connect(account.address(silent.getsockname()[1]))


def test_a_frozen_server_is_given_up(account: Account) -> None:
    with (
        account.server.frozen(),
        at_most(QUICK.login_s + 3),
        pytest.raises(DeviceError, match="did not greet"),
    ):
        account.connect()


def test_a_server_of_another_kind_is_told(account: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(QUICK.attempts):
                client = server.accept()[0]
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(DeviceError, match="ended the connection before the login") as caught:
            account.connect(account.address(server.getsockname()[1]))
    assert "something else listens there" in caught.value.hint


def test_a_connection_that_breaks_before_the_login_is_tried_again(
    account: Account, proxy: FaultProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.cut = Cut(after=900, times=2, reset=True)
    assert account.connect(account.address(proxy.port)).run(["true"], timeout_s=9).returncode == 0
    assert proxy.connections == 3
    proxy.reset_counts()
    proxy.refusing = True
    with at_most(3), pytest.raises(DeviceError, match="ended the connection"):
        account.connect(account.address(proxy.port))
    assert proxy.connections == QUICK.attempts
    assert capfd.readouterr() == ("", "")


# Lost connections


@pytest.mark.parametrize("reset", [False, True])
def test_a_link_that_is_cut_under_a_program_is_told(
    ssh: Ssh, proxy: FaultProxy, reset: bool
) -> None:
    with (
        at_most(3),
        soon(lambda: proxy.drop(reset=reset)),
        pytest.raises(ConnectionLostError, match="dropped while sleep was running") as caught,
    ):
        ssh.run(["sleep", "5"], timeout_s=30)
    assert "still on" in caught.value.hint
    assert ssh.run(["echo", "back"], timeout_s=10).stdout == "back\n"
    assert proxy.connections == 2


def test_a_killed_session_is_told(account: Account) -> None:
    ssh = account.connect()
    with (
        at_most(3),
        soon(account.server.kill_sessions),
        pytest.raises(ConnectionLostError, match="dropped while sleep was running"),
    ):
        ssh.run(["sleep", "5"], timeout_s=30)
    assert ssh.run(["true"], timeout_s=10).returncode == 0


def test_half_an_answer_is_none(ssh: Ssh, proxy: FaultProxy) -> None:
    write = "import sys, time; print('x' * 100000, flush=True); time.sleep(5)"
    with soon(proxy.drop, 1.0), pytest.raises(ConnectionLostError):
        ssh.run([sys.executable, "-c", write], timeout_s=30)


def test_only_a_repeatable_program_is_run_again(
    ssh: Ssh, proxy: FaultProxy, tmp_path: Path
) -> None:
    count = ["sh", "-c", f"echo run >>{tmp_path}/count; sleep 1; wc -l <{tmp_path}/count"]
    with soon(proxy.drop):
        assert ssh.run(count, timeout_s=30, repeatable=True).stdout.strip() == "2"
    with soon(proxy.drop), pytest.raises(ConnectionLostError):
        ssh.run(count, timeout_s=30)
    assert (tmp_path / "count").read_text().count("run") == 3
    with soon(proxy.drop), pytest.raises(ConnectionLostError):
        ssh.run(["sh", "-c", "cat; sleep 1"], timeout_s=30, stdin=iter([b"a"]), repeatable=True)


def test_a_device_that_restarts_is_waited_for(account: Account) -> None:
    ssh = account.connect()
    started = threading.Event()

    def power_cut() -> None:
        account.server.stop()
        time.sleep(1.5)
        account.server.start()
        started.set()

    with soon(power_cut):
        done = ssh.run(["sh", "-c", "sleep 1; echo done"], timeout_s=30, repeatable=True)
    assert done.stdout == "done\n" and started.is_set()


def test_a_device_that_stays_away_is_waited_for_once(account: Account) -> None:
    ssh = account.connect(patience=replace(QUICK, return_s=1.5))
    with account.server.stopped():
        with at_most(4), pytest.raises(DeviceError, match="is closed"):
            ssh.run(["true"], timeout_s=30, repeatable=True)
        with at_most(1), pytest.raises(DeviceError, match="is closed"):
            ssh.run(["true"], timeout_s=30, repeatable=True)
    assert ssh.run(["true"], timeout_s=10).returncode == 0


def test_a_frozen_device_is_noticed_by_its_pulse(account: Account) -> None:
    ssh = account.connect()
    with at_most(7):
        threading.Timer(0.5, account.server.freeze).start()
        try:
            with pytest.raises(
                ConnectionLostError, match="given up: no answer for 2 s while sleep"
            ):
                ssh.run(["sleep", "30"], timeout_s=60)
        finally:
            account.server.thaw()
    assert ssh.run(["echo", "back"], timeout_s=10).stdout == "back\n"


def test_a_stalled_link_is_noticed_while_input_is_sent(ssh: Ssh, proxy: FaultProxy) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(100_000)

    with (
        at_most(8),
        soon(lambda: setattr(proxy, "stalled", True)),
        pytest.raises(ConnectionLostError, match="no answer for 2 s"),
    ):
        ssh.run(["sh", "-c", "cat >/dev/null"], timeout_s=60, stdin=endless())
    proxy.stalled = False


def test_a_silent_program_on_a_living_device_is_no_dead_link(ssh: Ssh, proxy: FaultProxy) -> None:
    proxy.delay_s = 0.2
    done = ssh.run(["sh", "-c", "sleep 5; echo late"], timeout_s=10)
    assert done.stdout == "late\n" and proxy.connections == 1


def test_a_link_that_was_lost_between_programs_is_made_anew(ssh: Ssh, proxy: FaultProxy) -> None:
    assert ssh.run(["true"], timeout_s=10).returncode == 0
    proxy.drop()
    assert ssh.run(["echo", "back"], timeout_s=10).stdout == "back\n"
    assert proxy.connections == 2


def test_a_device_with_another_key_after_a_drop_is_refused(account: Account) -> None:
    ssh = account.connect()
    with account.server.other_host_keys(), pytest.raises(DeviceError, match="has changed"):
        ssh.run(["true"], timeout_s=10, repeatable=True)


@pytest.mark.parametrize("files", ["/dev/null", "none"])
def test_a_key_that_no_file_keeps_is_accepted_once(account: Account, files: str) -> None:
    account.configure(f"Host *\n UserKnownHostsFile {files}\n GlobalKnownHostsFile none\n")
    ssh = account.connect(accept=True)
    ssh._connection.close()
    assert ssh.run(["true"], timeout_s=10).returncode == 0, "the same key is accepted again"
    with account.server.other_host_keys(), pytest.raises(DeviceError, match="has changed"):
        ssh.run(["true"], timeout_s=10, repeatable=True)


def test_closing_leaves_no_thread(account: Account) -> None:
    before = threading.active_count()
    ssh = account.connect()
    ssh.run(["true"], timeout_s=10)
    ssh.close()
    for _ in range(50):
        if threading.active_count() <= before:
            return
        time.sleep(0.05)
    pytest.fail(f"still there: {threading.enumerate()}")


def test_finding_a_device_imports_no_paramiko() -> None:
    program = (
        "import sys; from edgepack.device import find_device; find_device('pi@board');"
        "import edgepack.transports.ssh; from edgepack.__main__ import main\n"
        "try: main(['bench', '--help'])\nexcept SystemExit: pass\n"
        "assert 'paramiko' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=PACKAGE.parent, check=False
    )
    assert done.returncode == 0, done.stderr
