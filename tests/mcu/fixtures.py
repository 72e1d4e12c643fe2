"""Fixtures of emulated microcontrollers, skipped with a reason where a program is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mcu import firmware, machines
from mcu.firmware import Board
from mcu.machines import Machine


@pytest.fixture(scope="session")
def arm_gcc() -> str:
    """The compiler's name."""
    if reason := firmware.missing_compiler():
        pytest.skip(reason)
    return firmware.GCC


@pytest.fixture
def mcu(arm_gcc: str, tmp_path: Path) -> Callable[[Machine], Board]:
    """A board of the test's own, by its machine."""
    if reason := firmware.missing_emulator():
        pytest.skip(reason)

    def board(machine: Machine) -> Board:
        folder = tmp_path / machine.name
        folder.mkdir(exist_ok=True)
        return Board(machine, folder)

    return board


@pytest.fixture
def qemu_an386(mcu: Callable[[Machine], Board]) -> Board:
    """A board with a Cortex-M4F."""
    return mcu(machines.AN386)
