"""How long to wait for an SSH server, and how often to try again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Every wait has an end.

    Attributes:
        connect_s: for a host's name to be found and its port to open.
        login_s: for the server's greeting, for the exchange of keys, and for every answer to an
            attempt to log in.
        session_s: for a program to be let start.
        attempts: how often a connection is tried that breaks before anybody has logged in, which
            a busy server does.
        pause_s: between these; doubled each time.
        pulse_s: between looks at a connection on which nothing comes in; from the first of them on
            the server is asked for an answer.
        silence_s: after this long without any answer a connection is given up.
        return_s: how long a device may be away, to start again for instance, before a repeatable
            program is given up.
        repeats: how often a repeatable program is run again after its connection dropped.
        kill_s: for a program to be killed that has outstayed its time.
    """

    connect_s: float = 10.0
    login_s: float = 20.0
    session_s: float = 15.0
    attempts: int = 3
    pause_s: float = 0.4
    pulse_s: float = 5.0
    silence_s: float = 25.0
    return_s: float = 45.0
    repeats: int = 2
    kill_s: float = 5.0


PATIENCE = Patience()
"""Enough for a board in the next room, or over a slow radio link."""
