"""Ends the process when nobody waits for its answer any more, or when its time is over."""

from __future__ import annotations

import os
import select
import signal
import threading

GONE = 75
"""The exit code of a process whose caller has gone; nobody reads it but a test."""


def hold(limit_s: float) -> None:
    """Let the process end by itself after a time, and as soon as its caller has gone.

    Args:
        limit_s: from now on, in s; SIGALRM with its default action ends even a process that hangs
            in a call of C.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    threading.Thread(target=watch_caller, args=(1,), daemon=True).start()


def watch_caller(descriptor: int) -> None:
    """Wait, without using the CPU, until nobody can read a pipe or socket, and end the process.

    A poll that asks for nothing is told of errors only: the reader is gone, or there never was one.
    """
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(GONE)
