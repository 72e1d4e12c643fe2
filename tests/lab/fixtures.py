"""Fixtures of the lab; what this machine cannot run is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import image
from lab import sshd as server
from lab.machine import VirtualPi
from lab.sshd import Sshd

BOARDS = {"virtual_pi", "virtual_pi_armhf"}


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


@pytest.fixture(scope="session")
def virtual_pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualPi]:
    """A virtual Raspberry Pi 4 with a 64-bit system; `lab.faults` disturbs it."""
    yield from started("arm64", tmp_path_factory)


@pytest.fixture(scope="session")
def virtual_pi_armhf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualPi]:
    """A virtual Raspberry Pi 4 with a 32-bit system under a 64-bit kernel."""
    yield from started("armhf", tmp_path_factory)


def started(arch: str, folders: pytest.TempPathFactory) -> Iterator[VirtualPi]:
    """A fresh board for the length of a session."""
    if reason := image.missing(arch):
        pytest.skip(reason)
    pi = VirtualPi(image.build(arch), folders.mktemp(f"pi-{arch}"))
    pi.start()
    yield pi
    pi.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a virtual Pi, before marks decide what is run."""
    for item in items:
        if BOARDS & set(getattr(item, "fixturenames", ())):
            item.add_marker("board")
