"""Logging in to a real OpenSSH server: host keys, keys, agents, passphrases, passwords, jumps."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.fault_proxy import FaultProxy
from lab.sshd import PASSPHRASE
from password_server import PasswordServer
from ssh_client import QUICK, Account

from edgepack.errors import DeviceError, InputError
from edgepack.ssh import secrets
from edgepack.transports.ssh import Ssh


def works(transport: Ssh) -> bool:
    return transport.run(["echo", "in"], timeout_s=10).stdout == "in\n"


# Host keys


def test_an_unknown_host_key_is_refused_with_its_fingerprint(stranger: Account) -> None:
    stranger.take_key()
    with pytest.raises(DeviceError, match=r"host key of .* is not known") as caught:
        stranger.connect()
    public = stranger.server.folder / "host_ed25519.pub"
    told = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, check=True).stdout
    assert told.decode().split()[1] in caught.value.message
    assert "--accept-new-host-key" in caught.value.hint
    assert not stranger.known_hosts.exists()


@pytest.mark.parametrize("hashed", ["yes", "no"])
def test_an_accepted_host_key_is_known_from_then_on(stranger: Account, hashed: str) -> None:
    stranger.take_key()
    stranger.configure(f"HashKnownHosts {hashed}\n")
    assert works(stranger.connect(accept=True))
    assert works(stranger.connect())
    name = f"[{stranger.server.host}]:{stranger.server.port}"
    assert (name in stranger.known_hosts.read_text()) is (hashed == "no")
    client = ["ssh", "-F", "none", "-i", str(stranger.ssh / "id_ed25519"), "-o", "BatchMode=yes"]
    client += ["-o", f"UserKnownHostsFile={stranger.known_hosts}", "-p", str(stranger.server.port)]
    target = f"{stranger.server.user}@{stranger.server.host}"
    done = subprocess.run([*client, target, "true"], capture_output=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("accept", [False, True])
def test_a_changed_host_key_is_refused_always(account: Account, accept: bool) -> None:
    before = account.known_hosts.read_text()
    with account.server.other_host_keys(), pytest.raises(DeviceError, match="changed") as caught:
        account.connect(accept=accept)
    assert re.search(rf"line \d+ of {account.known_hosts}", caught.value.message)
    assert f"ssh-keygen -R '[127.0.0.1]:{account.server.port}'" in caught.value.hint
    assert account.known_hosts.read_text() == before
    assert works(account.connect())


def test_a_server_is_asked_for_the_kind_of_key_that_is_known(stranger: Account) -> None:
    stranger.take_key()
    stranger.know(stranger.server.port)
    lines = stranger.known_hosts.read_text().splitlines()
    stranger.known_hosts.write_text(next(line for line in lines if "ssh-rsa" in line) + "\n")
    assert works(stranger.connect())


# Keys


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_logs_in(stranger: Account, kind: str) -> None:
    stranger.know(stranger.server.port)
    stranger.take_key(kind, f"id_{kind}")
    assert works(stranger.connect())


def test_an_alias_says_everything(account: Account) -> None:
    account.take_key(name="other")
    (account.ssh / "id_ed25519").unlink()
    account.configure(
        "Host desk\n HostName {host}\n Port {port3}\n User {user}\n IdentityFile {ssh}/other\n"
    )
    assert works(account.connect("desk"))


def test_a_key_that_the_server_does_not_take_is_named(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    key = stranger.take_key("stranger")
    with pytest.raises(DeviceError, match="lets nobody in") as caught:
        stranger.connect()
    assert str(key) in caught.value.message
    assert f"ssh-copy-id -p {stranger.server.port}" in caught.value.hint
    assert secrets.PASSWORD in caught.value.hint


def test_a_file_that_is_no_key_is_named(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    (stranger.ssh / "id_rsa").write_text("nonsense")
    with pytest.raises(DeviceError, match="id_rsa: no private key"):
        stranger.connect()


def test_a_named_key_that_is_not_there_is_told(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    stranger.configure("IdentityFile {ssh}/nothing-here\n")
    with pytest.raises(DeviceError, match="nothing-here: no such file"):
        stranger.connect()


@pytest.fixture
def agent(stranger: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A user with an agent that holds the server's key, and the stranger's before it."""
    socket = stranger.home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    for _ in range(100):
        if socket.exists():
            break
        time.sleep(0.05)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    for kind in ("stranger", "ed25519"):
        add = ["ssh-add", "-q", stranger.server.keys[kind]]
        subprocess.run(add, check=True, capture_output=True, timeout=20)
    stranger.know(stranger.server.port)
    yield stranger
    process.kill()
    process.wait()


def test_the_agent_logs_in(agent: Account) -> None:
    assert works(agent.connect())


def test_only_named_keys_of_the_agent_are_tried_where_asked_for(agent: Account) -> None:
    agent.take_key("stranger", "only")
    agent.configure("IdentityFile {ssh}/only\nIdentitiesOnly yes\n")
    with pytest.raises(DeviceError, match="lets nobody in") as caught:
        agent.connect()
    assert "ed25519" not in caught.value.message.replace("agent's key lab", "")
    agent.take_key("ed25519", "only")
    (agent.ssh / "only").write_text("the private half is in the agent only")
    assert works(agent.connect())


def test_a_locked_key_in_the_agent_needs_no_passphrase(agent: Account) -> None:
    agent.take_key("ed25519", "id_ed25519")
    locked = agent.ssh / "id_ed25519"
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(locked)]
    subprocess.run(change, check=True, capture_output=True, timeout=20)
    assert works(agent.connect())


def test_an_agent_that_is_gone_does_no_harm(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(account.home / "gone"))
    assert works(account.connect())


def test_too_many_keys_are_told(agent: Account, tmp_path: Path) -> None:
    for number in range(7):
        key = tmp_path / f"key{number}"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"extra{number}", "-f", key]
        subprocess.run(make, check=True, timeout=20)
        subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True, timeout=20)
    subprocess.run(
        ["ssh-add", "-q", "-d", agent.server.keys["ed25519"]], check=True, capture_output=True
    )
    with pytest.raises(DeviceError, match="closed the connection at the login") as caught:
        agent.connect()
    assert "IdentitiesOnly" in caught.value.hint


# Passphrases and passwords


def test_a_locked_key_without_a_terminal_says_what_to_type(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    key = stranger.take_key("locked")
    with pytest.raises(DeviceError, match="needs a passphrase") as caught:
        stranger.connect()
    assert caught.value.hint == f"type: ssh-add {key}"


PROGRAM = """
import sys
from edgepack.device import Device
from edgepack.errors import DeviceError
from edgepack.transport import connect
try:
    for address in sys.argv[1:]:
        transport = connect(Device("device", address=address))
        print(transport.run(["echo", "let", "in"], timeout_s=20).stdout)
        transport.close()
except DeviceError as error:
    print("error:", error.message, "hint:", error.hint)
print("the end")
"""


def start_at_terminal(program: str, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """A Python program that has a terminal of its own, and the other end of that."""
    terminal, end = pty.openpty()
    # A test run in the background of a shell has Ctrl-C ignored, and hands that on.
    heard = ["env", "--default-signal=INT"]
    command = ["setsid", "--ctty", *heard, sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end)
    os.close(end)
    return process, terminal


def at_terminal(address: str, answers: list[str], *others: str) -> str:
    """What a program shows at a terminal that connects twice, where somebody types answers."""
    addresses = (address, address, *others)
    process, terminal = start_at_terminal(PROGRAM, *addresses)
    shown, waiting = "", list(answers)
    deadline = time.monotonic() + 30
    while "the end" not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
        if waiting and shown.endswith(": "):
            os.write(terminal, waiting.pop(0).encode() + b"\n")
            shown += "<typed>"
    process.wait(30)
    os.close(terminal)
    return shown


def test_a_passphrase_is_asked_for_once_at_a_terminal_and_not_shown(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    key = stranger.take_key("locked")
    shown = at_terminal(stranger.address(), ["wrong one", PASSPHRASE])
    assert shown.count("let in") == 2 and shown.count(f"passphrase of {key}: <typed>") == 2
    assert PASSPHRASE not in shown and "wrong one" not in shown


IN_A_THREAD = """
import threading
from edgepack.ssh.secrets import ask
thread = threading.Thread(target=ask, args=("password: ", str), daemon=True)
thread.start()
try:
    thread.join()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_question_leaves_a_terminal_that_shows_what_is_typed() -> None:
    process, terminal = start_at_terminal(IN_A_THREAD)
    shows = [True]
    deadline = time.monotonic() + 30
    while shows[-1] and time.monotonic() < deadline:
        time.sleep(0.05)
        shows.append(bool(termios.tcgetattr(terminal)[3] & termios.ECHO))
    os.write(terminal, b"\x03")
    process.wait(30)
    shows.append(bool(termios.tcgetattr(terminal)[3] & termios.ECHO))
    os.close(terminal)
    assert shows[-2:] == [False, True]


def test_no_answer_is_none(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    stranger.take_key("locked")
    shown = at_terminal(stranger.address(), ["\x04"] * 4)
    assert "error:" in shown and "needs a passphrase" in shown and "Traceback" not in shown


def test_wrong_passphrases_come_to_an_end(stranger: Account) -> None:
    stranger.know(stranger.server.port)
    stranger.take_key("locked")
    shown = at_terminal(stranger.address(), ["a", "b", "c", "p1", "p2", "p3"])
    assert "error:" in shown and "needs a passphrase" in shown
    assert shown.count("passphrase of") == 3 and shown.count("password of") == 3


def test_a_password_of_the_environment_that_is_refused_is_not_told(
    stranger: Account, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger.know(stranger.server.port)
    monkeypatch.setenv(secrets.PASSWORD, "open sesame")
    with pytest.raises(DeviceError, match=f"the password of {secrets.PASSWORD}") as caught:
        stranger.connect()
    told = caught.value.message + caught.value.hint + str(capfd.readouterr())
    assert "sesame" not in told


@pytest.fixture
def password_server(stranger: Account) -> Iterator[PasswordServer]:
    with PasswordServer() as server:
        stranger.known_hosts.write_text(server.known_hosts)
        yield server


def logged_in(stranger: Account, server: PasswordServer) -> bool:
    transport = stranger.connect(f"pi@127.0.0.1:{server.port}")
    return transport.run(["anything"], timeout_s=10).stdout == "ran\n"


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password_of_the_environment_logs_in(
    stranger: Account,
    password_server: PasswordServer,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password_server.methods = method
    monkeypatch.setenv(secrets.PASSWORD, password_server.PASSWORD)
    assert logged_in(stranger, password_server)


def test_a_server_may_want_a_key_and_a_password(
    stranger: Account, password_server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.take_key()
    password_server.methods = "publickey"
    password_server.both = True
    monkeypatch.setenv(secrets.PASSWORD, password_server.PASSWORD)
    assert logged_in(stranger, password_server)


def test_a_server_may_let_everybody_in(stranger: Account, password_server: PasswordServer) -> None:
    password_server.methods = "none"
    assert logged_in(stranger, password_server)


def test_a_password_is_asked_for_once_at_a_terminal_and_not_shown(
    stranger: Account, password_server: PasswordServer
) -> None:
    shown = at_terminal(f"pi@127.0.0.1:{password_server.port}", ["no", password_server.PASSWORD])
    assert shown.count("ran") == 2, shown
    assert shown.count(f"password of pi@127.0.0.1:{password_server.port}: <typed>") == 2
    assert password_server.PASSWORD not in shown


def test_a_password_is_not_offered_to_the_same_address_behind_another_host(
    account: Account,
) -> None:
    """The servers behind two hosts on the way need not be the same one."""
    with PasswordServer() as server:
        with account.known_hosts.open("a") as file:
            file.write(server.known_hosts)
        account.configure(
            "".join(
                f"Host {name}\n HostName 127.0.0.1\n Port {server.port}\n User pi\n"
                f" ProxyJump {{user}}@{{host}}:{{{port}}}\n"
                for name, port in (("left", "port1"), ("right", "port2"))
            )
        )
        shown = at_terminal("left", [server.PASSWORD, server.PASSWORD], "right", "left")
    user, port1, port2 = account.server.user, *account.server.ports[1:3]
    words = f"password of pi@127.0.0.1:{server.port} through {user}@{account.server.host}"
    assert shown.count("ran") == 4, shown
    assert shown.count(f"{words}:{port1}: <typed>") == shown.count(f"{words}:{port2}: <typed>") == 1


# On the way


def test_jumps_lead_to_the_device_each_checked_and_logged_in_to(account: Account) -> None:
    account.configure(
        "Host one\n HostName {host}\n Port {port1}\n User {user}\n"
        "Host two\n HostName {host}\n Port {port2}\n User {user}\n"
        "Host desk\n HostName {host}\n User {user}\n ProxyJump one,two\n"
    )
    transport = account.connect("desk:" + str(account.server.ports[3]))
    assert works(transport)
    data = os.urandom(3_000_000)
    assert transport.run(["cat"], timeout_s=30, stdin=data).output == data
    lines = [line for line in account.known_hosts.read_text().splitlines() if "]:" in line]
    account.known_hosts.write_text(
        "\n".join(line for line in lines if f":{account.server.ports[2]} " not in line) + "\n"
    )
    with pytest.raises(DeviceError, match=f":{account.server.ports[2]} is not known"):
        account.connect("desk:" + str(account.server.ports[3]))


def test_a_device_that_the_jump_cannot_reach_is_told(account: Account) -> None:
    account.configure(
        "Host desk\n HostName {host}\n User {user}\n ProxyJump {user}@{host}:{port}\n"
    )
    with pytest.raises(DeviceError, match=r"cannot reach 127\.0\.0\.1 port 9") as caught:
        account.connect("desk:9")
    assert "AllowTcpForwarding" in caught.value.hint


def test_a_device_that_freezes_behind_a_jump_is_noticed(account: Account) -> None:
    with FaultProxy(account.server.port) as proxy:
        account.know(proxy.port)
        account.configure(
            f"Host desk\n HostName {{host}}\n Port {proxy.port}\n User {{user}}\n"
            " ProxyJump {user}@{host}:{port1}\n"
        )
        transport = account.connect("desk")
        start = time.monotonic()
        threading.Timer(0.5, lambda: setattr(proxy, "stalled", True)).start()
        with pytest.raises(DeviceError, match="no answer for 2 s"):
            transport.run(["sleep", "30"], timeout_s=60)
        assert time.monotonic() - start < 7
    assert QUICK.silence_s == 2


def test_a_command_as_proxy_is_refused_by_name(account: Account) -> None:
    account.configure("Host desk\n ProxyCommand nc %h %p\n")
    with pytest.raises(InputError, match="ProxyCommand"):
        account.connect("desk")
