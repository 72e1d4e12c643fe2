"""Free TCP ports of this machine, and waiting for a server behind one."""

from __future__ import annotations

import random
import socket
import time

HOST = "127.0.0.1"
LOWEST, HIGHEST = 20_000, 30_000
"""Below the ports that the kernel hands out, so that one stays free while its server restarts."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on now."""
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    while len(found) < count:
        port = candidates.pop()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
    return found


def answers(port: int, *, timeout_s: float = 2.0) -> bool:
    """Whether an SSH server greets on a port of 127.0.0.1."""
    try:
        with socket.create_connection((HOST, port), timeout_s) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_ssh(port: int, *, timeout_s: float) -> bool:
    """Wait until an SSH server greets; False where none does in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answers(port, timeout_s=min(10.0, max(0.1, end - time.monotonic()))):
            return True
        time.sleep(0.05)
    return False
