"""The lab itself: its server, its faults, and its virtual board."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from lab.fault_proxy import Cut, FaultProxy
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
