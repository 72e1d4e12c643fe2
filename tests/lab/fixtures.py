"""Fixtures of the lab; what this machine cannot run is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import sshd as server
from lab.sshd import Sshd


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An OpenSSH server of this machine; a test that disturbs it does so in a `with` block."""
    if reason := server.missing():
        pytest.skip(reason)
    running = Sshd(tmp_path_factory.mktemp("sshd"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def device_folder(tmp_path: Path) -> str:
    """A folder for edgepack's files on the device that is this test's own."""
    return str(tmp_path / "device")
