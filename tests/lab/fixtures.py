"""Fixtures of the lab; what this machine cannot run is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import debian_mirror, image
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


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The way to Debian's files, also where this machine reaches them by apt only."""
    if not debian_mirror.APT_HELPER.exists():
        pytest.skip(f"there is no {debian_mirror.APT_HELPER} here, which fetches Debian's packages")
    with debian_mirror.serving() as address:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", address)
        yield


def started(arch: str, folders: pytest.TempPathFactory) -> Iterator[VirtualPi]:
    """A fresh board for the length of a session, as fast as it can be: no test reads its clock."""
    if reason := image.missing(arch):
        pytest.skip(reason)
    pi = VirtualPi(image.build(arch), folders.mktemp(f"pi-{arch}"), board="free")
    pi.start()
    yield pi
    pi.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a virtual Pi, before marks decide what is run."""
    for item in items:
        if BOARDS & set(getattr(item, "fixturenames", ())):
            item.add_marker("board")
