"""The lab itself: its server, its faults, and its virtual board."""

from __future__ import annotations

import subprocess

import pytest
from lab.ports import answers
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
