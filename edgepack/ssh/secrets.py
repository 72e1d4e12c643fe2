"""Asks for passwords and passphrases, each once in a process, where somebody can answer."""

from __future__ import annotations

import atexit
import getpass
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

PASSWORD = "EDGEPACK_SSH_PASSWORD"
TRIES = 3

T = TypeVar("T")
_asking = threading.RLock()
_known: dict[str, object] = {}


def can_ask() -> bool:
    """Whether somebody sits at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def password_from_environment() -> str:
    """The password of devices, as the user's environment has it; empty where it has none."""
    return os.environ.get(PASSWORD, "")


def ask(prompt: str, use: Callable[[str], T | None]) -> T | None:
    """Ask for a secret until it is of use, a few times.

    What it was of use for is remembered, never printed: devices that are reached at the same
    time, or again, share it.

    Args:
        prompt: what for; the same words mean the same secret.
        use: makes of a secret what is wanted, or None of a wrong one.

    Returns:
        what ``use`` made; None where nobody can be asked, or nothing was right.
    """
    with _asking:
        if prompt in _known:
            found: T = _known[prompt]  # type: ignore[assignment]
            return found
        if can_ask():
            _restore_echo_at_exit()
        for _ in range(TRIES if can_ask() else 0):
            try:
                typed = getpass.getpass(prompt)
            except EOFError:  # Ctrl-D: there is none
                break
            if (made := use(typed)) is not None:
                _known[prompt] = made
                return made
    return None


@cache
def _restore_echo_at_exit() -> None:
    """Questions are asked in threads, which an interrupt ends while nothing typed is shown."""
    import termios

    terminal = sys.stdin.fileno()
    atexit.register(termios.tcsetattr, terminal, termios.TCSANOW, termios.tcgetattr(terminal))
