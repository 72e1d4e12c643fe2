"""The lab itself: its server, its faults, and its virtual board."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import faults, image, packages
from lab.fault_proxy import Cut, FaultProxy
from lab.machine import VirtualPi
from lab.ports import HOST, answers, free_ports
from lab.sshd import Sshd


def test_sshd_lets_the_user_in_on_every_port(sshd: Sshd) -> None:
    assert sshd.run(["pwd"]).strip() == str(sshd.home)
    assert sshd.run(["echo", "$HOME"]).strip() == str(sshd.home)
    assert len(sshd.ports) == 8 and all(answers(port) for port in sshd.ports)
    last = [*sshd.client(port=sshd.ports[-1]), f"{sshd.user}@{sshd.host}", "exit 7"]
    assert subprocess.run(last, timeout=30).returncode == 7


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa", "stranger"])
def test_sshd_knows_its_keys(sshd: Sshd, kind: str) -> None:
    command = [*sshd.client(), f"{sshd.user}@{sshd.host}", "true"]
    command[command.index("-i") + 1] = str(sshd.keys[kind])
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode == 0) == (kind != "stranger"), done.stderr


def test_sshd_with_other_keys_is_refused_and_recovers(sshd: Sshd) -> None:
    with sshd.other_host_keys(), pytest.raises(subprocess.CalledProcessError) as caught:
        sshd.run(["true"])
    assert b"IDENTIFICATION HAS CHANGED" in caught.value.stderr
    sshd.run(["true"])


def test_sshd_stops_freezes_and_loses_connections(sshd: Sshd) -> None:
    with sshd.stopped():
        assert not answers(sshd.port)
    with sshd.frozen():
        assert not answers(sshd.port, timeout_s=0.3)
    command = [*sshd.client(), f"{sshd.user}@{sshd.host}", "echo up; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout and client.stdout.readline() == b"up\n"
        assert sshd.kill_sessions() >= 1
        assert client.wait(timeout=10) == 255


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while data := self.request.recv(65_536):
                    self.request.sendall(data)

    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def receive(client: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    parts = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def send_and_receive(port: int, data: bytes) -> bytes:
    """What comes back of data that a connection sends before it closes its side."""
    with socket.create_connection((HOST, port), 10) as client:
        sender = threading.Thread(target=send_all, args=(client, data))
        sender.start()
        received = receive(client)
        sender.join(10)
        return received


def send_all(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)


def test_proxy_passes_all_and_counts(echo: int) -> None:
    data = os.urandom(3_000_000)
    with FaultProxy(echo) as proxy:
        assert send_and_receive(proxy.port, data) == data
        assert (proxy.sent, proxy.received, proxy.connections) == (3_000_000, 3_000_000, 1)
        proxy.reset_counts()
        assert send_and_receive(proxy.port, b"abc") == b"abc"
        assert (proxy.sent, proxy.received) == (3, 3)


def test_proxy_cuts_to_the_byte_and_then_lets_pass(echo: int) -> None:
    data = os.urandom(300_000)
    with FaultProxy(echo) as proxy:
        proxy.cut = Cut(123_456, "down")
        assert send_and_receive(proxy.port, data) == data[:123_456]
        assert send_and_receive(proxy.port, data) == data
        proxy.reset_counts()
        proxy.cut = Cut(100_000, "up")
        assert data.startswith(send_and_receive(proxy.port, data))
        assert proxy.sent == 100_000


def ask(port: int, data: bytes) -> bytes:
    """The first answer to some bytes."""
    with socket.create_connection((HOST, port), 10) as client:
        client.sendall(data)
        return client.recv(65_536)


def test_proxy_resets(echo: int) -> None:
    with FaultProxy(echo) as proxy:
        with socket.create_connection((HOST, proxy.port), 10) as client:
            client.sendall(b"abc")
            assert client.recv(3) == b"abc"
            assert proxy.drop(reset=True) == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        proxy.cut = Cut(2, reset=True)
        with pytest.raises(ConnectionResetError):
            ask(proxy.port, b"abc")
        assert ask(proxy.port, b"abc") == b"abc"
        proxy.refusing = True
        with pytest.raises(ConnectionResetError):
            ask(proxy.port, b"abc")


def test_proxy_drops_in_order(echo: int) -> None:
    with FaultProxy(echo) as proxy, socket.create_connection((HOST, proxy.port), 10) as client:
        client.sendall(b"abc")
        assert client.recv(3) == b"abc"
        assert proxy.drop() == 1
        assert client.recv(1) == b""


def test_proxy_stalls_and_goes_on(echo: int) -> None:
    with FaultProxy(echo) as proxy, socket.create_connection((HOST, proxy.port), 10) as client:
        proxy.stalled = True
        client.sendall(b"abc")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(3)
        proxy.stalled = False
        client.settimeout(10)
        assert client.recv(3) == b"abc"


def test_proxy_delays_each_way_without_slowing_the_flow(echo: int) -> None:
    data = os.urandom(1_000_000)
    with FaultProxy(echo) as proxy:
        proxy.delay_s = 0.1
        start = time.monotonic()
        assert send_and_receive(proxy.port, data) == data
        assert 0.2 <= time.monotonic() - start < 1.5


def test_proxy_resets_clients_of_a_closed_port() -> None:
    with FaultProxy(free_ports(1)[0]) as proxy, pytest.raises(ConnectionResetError):
        ask(proxy.port, b"abc")


def test_virtual_pi_is_a_bare_raspberry_pi(virtual_pi: VirtualPi) -> None:
    tell = "cat /proc/device-tree/model; vcgencmd get_throttled; id -un; pwd; uname -m; nproc"
    model, *lines = virtual_pi.run(["sh", "-c", tell]).replace("\0", "\n").split("\n")
    assert model == "Raspberry Pi 4 Model B Rev 1.4"
    assert lines == ["throttled=0x0", "pi", "/home/pi", "aarch64", "4", ""]
    for module in ("numpy", "pip"):
        with pytest.raises(RuntimeError, match="No module named"):
            virtual_pi.run(["python3", "-c", f"import {module}"])
    with pytest.raises(RuntimeError, match="Permission denied"):
        virtual_pi.run(["touch", "/etc/passwd"])


def test_virtual_pi_takes_a_password(virtual_pi: VirtualPi) -> None:
    paramiko = pytest.importorskip("paramiko")
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(virtual_pi.known_hosts))
        client.connect(
            virtual_pi.host,
            virtual_pi.port,
            virtual_pi.user,
            virtual_pi.password,
            look_for_keys=False,
            allow_agent=False,
            banner_timeout=60,
            auth_timeout=60,
        )
        assert client.exec_command("id -un", timeout=60)[1].read() == b"pi\n"


def test_virtual_pi_armhf_is_32_bit_and_knows_where_numpy_is(virtual_pi_armhf: VirtualPi) -> None:
    size = "import struct; print(struct.calcsize('P'))"
    assert virtual_pi_armhf.run(["python3", "-c", size]) == "4\n"
    assert virtual_pi_armhf.run(["uname", "-m"]) == "aarch64\n"
    assert virtual_pi_armhf.run(["dpkg", "--print-architecture"]) == "armhf\n"
    with pytest.raises(RuntimeError, match="No module named"):
        virtual_pi_armhf.run(["python3", "-c", "import numpy"])
    wish = ["--print-uris", "-y", "--no-install-recommends", "python3-numpy"]
    uris = [u for u in virtual_pi_armhf.run(["apt-get", "install", *wish]).split() if "://" in u]
    names = {uri.rpartition("/")[2].partition("_")[0] for uri in uris}
    assert {"python3-numpy", "libblas3", "liblapack3"} <= names and "libc6" not in names


def test_virtual_pi_shows_heat_throttling_and_clock(virtual_pi: VirtualPi) -> None:
    ask = "vcgencmd measure_temp; vcgencmd get_throttled; cd /sys/devices/system/cpu/cpu2/cpufreq"
    ask += "; cat scaling_governor scaling_cur_freq"
    virtual_pi.govern("performance")
    virtual_pi.clock(600_000)
    with faults.hot(virtual_pi, 82), faults.throttled(virtual_pi, 0x50005):
        seen = virtual_pi.run(["sh", "-c", ask]).split()
        assert seen == ["temp=82.0'C", "throttled=0x50005", "performance", "600000"]
    virtual_pi.govern("ondemand")
    virtual_pi.clock(1_500_000)
    seen = virtual_pi.run(["sh", "-c", ask]).split()
    assert seen == ["temp=48.3'C", "throttled=0x0", "ondemand", "1500000"]


def test_virtual_pi_loses_python_libraries_and_space(virtual_pi: VirtualPi) -> None:
    with faults.hidden(virtual_pi, faults.PYTHON, faults.LIBSTDCXX):
        with pytest.raises(RuntimeError, match="exited with 127"):
            virtual_pi.run(["python3", "-V"])
        assert "libstdc++.so.6\n" not in virtual_pi.run(["ls", "/usr/lib/aarch64-linux-gnu"])
    version = ["python3", "-I", "-c", "import sys; print(sys.version_info[:2], sys.version)"]
    with faults.old_python(virtual_pi):
        assert virtual_pi.run(version).startswith("(3, 5) 3.5.3 ")
    assert virtual_pi.run(version).startswith("(3, 11) 3.11.")
    fill = ["dd", "if=/dev/zero", "of=/home/pi/zeros", "bs=64k", "count=4"]
    with (
        faults.full_disk(virtual_pi, free_kib=64),
        pytest.raises(RuntimeError, match="No space left"),
    ):
        virtual_pi.run(fill)
    virtual_pi.run(fill)


def test_virtual_pi_vanishes_and_comes_back(virtual_pi: VirtualPi) -> None:
    virtual_pi.run(["sh", "-c", "echo kept >/home/pi/note; sync"])
    with faults.frozen(virtual_pi):
        assert not answers(virtual_pi.port, timeout_s=0.5)
    with faults.unplugged(virtual_pi):
        assert not answers(virtual_pi.port, timeout_s=0.5)
    with faults.power_cut(virtual_pi):
        assert not virtual_pi.pid
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((virtual_pi.host, virtual_pi.port), 5)
    assert virtual_pi.run(["cat", "/home/pi/note"]) == "kept\n"


def test_a_machine_without_qemu_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "PATH", "")
    assert "qemu-system-arm" in image.missing("arm64")


def test_command_line_knows_a_board_that_is_off(tmp_path: Path) -> None:
    script = Path(image.__file__).with_name("virtual_pi.py")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, str(script), "status", "--arch", "armhf"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.returncode) == ("off\n", 3), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_package_lists_are_kept_for_what_is_wanted() -> None:
    entries = [
        "Package: numpy\nDepends: blas3 (>= 3) | blas.so, python:any, virtual",
        "Package: blas3\nPre-Depends: libc",
        "Package: libc",
        "Package: python",
        "Package: real\nProvides: other, virtual (= 1)",
        "Package: game\nDepends: libc",
    ]
    kept = {packages.field(e, "Package") for e in packages.closure(entries, ["numpy", "gone"])}
    assert kept == {"numpy", "blas3", "libc", "python", "real"}
