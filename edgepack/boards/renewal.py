"""Keeps a session's hold on a board alive while nothing is measured there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edgepack.boards.lock import Lease
from edgepack.errors import DeviceError

EVERY_S = 10.0
"""A third of what a lease lasts."""

FAREWELL_S = 5.0


@contextmanager
def renewed(lease: Lease) -> Iterator[None]:
    """Renew a lease now and then until the end of a ``with`` block: for pushes and pauses.

    Not for measuring, which a process every few seconds would disturb.
    """
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(lease, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(FAREWELL_S)


def _renew(lease: Lease, done: threading.Event) -> None:
    while not done.wait(EVERY_S):
        # What fails here fails again, in words, where the session next needs the board.
        with suppress(DeviceError):
            lease.state()
