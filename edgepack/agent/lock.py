"""Keeps a board to one session at a time: a lock of the kernel's, and a short lease between runs.

A process that measures holds the file locked, so that the kernel lets go of it however the process
ends. Between two processes of a session its lease stands in the file: by the clock that counts from
the board's start, which nobody sets, and void after a restart. So whatever becomes of a session,
the board is free again `LEASE_S` after its last sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from typing import Any, Dict, Iterator

from edgepack.agent.machine import read_text
from edgepack.agent.refusal import RefusedError

LEASE_S = 30.0
PATIENCE_S = 5.0
"""How long a process that measures waits for one that is just ending, or looks at the lease."""

FAREWELL_S = 2.0

PUBLIC = ("/run/lock", "/tmp")
"""Folders where every user of a board may write; the first that there is holds its lock."""

NAME = "edgepack.lock"
LONGEST = 4096
LOOK_S = 0.2


class BusyError(Exception):
    """Another one has the board; the lease that it left in the file."""

    def __init__(self, lease: Dict[str, Any]) -> None:
        super().__init__()
        self.owner = str(lease.get("owner") or "a process without a name")
        since_s = lease.get("since_s")
        known = lease.get("boot_id") == boot_id() and isinstance(since_s, (int, float))
        self.held_s = max(0.0, now_s() - float(since_s or 0.0)) if known else 0.0


def place() -> str:
    """The file that all users of this board share."""
    for folder in PUBLIC:
        if os.path.isdir(folder) and os.stat(folder).st_mode & stat.S_IWOTH:
            return os.path.join(folder, NAME)
    return os.path.join(PUBLIC[-1], NAME)


def take(path: str, owner: str, token: str, wait_s: float) -> Dict[str, Any]:
    """Give a session the lease, or renew it, or say after a wait who has it.

    Returns:
        ``file`` and ``taken``; where it is not taken ``owner`` and ``held_s`` of the other one.
    """
    try:
        with held(path, owner, token, wait_s):
            return {"file": path, "taken": True}
    except BusyError as busy:
        return {"file": path, "taken": False, "owner": busy.owner, "held_s": busy.held_s}


def release(path: str, token: str) -> Dict[str, Any]:
    """End a session's lease, where it is that session's, and leave no file behind.

    A process of the session that lost its caller may be just ending.
    """
    with contextlib.suppress(BusyError):
        file = awaited(path, token, FAREWELL_S)
        os.ftruncate(file, 0)
        with contextlib.suppress(OSError):  # a file of another user stays, empty
            os.unlink(path)
        os.close(file)
    return {"file": path, "taken": False}


@contextlib.contextmanager
def held(path: str, owner: str, token: str, wait_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the file locked, and leave the session's lease in it.

    Raises:
        BusyError: if another one has it after ``wait_s``.
        RefusedError: if the file cannot be written.
    """
    file = awaited(path, token, wait_s)
    try:
        write(file, owner, token)
        yield
        write(file, owner, token)
    finally:
        os.close(file)


def awaited(path: str, token: str, wait_s: float) -> int:
    """The descriptor of the file, locked; BusyError where another one has it all the time."""
    end = time.monotonic() + wait_s
    while True:
        try:
            return locked(path, token)
        except BusyError:
            if time.monotonic() >= end:
                raise
        time.sleep(LOOK_S)


def locked(path: str, token: str) -> int:
    """The descriptor of the file, locked; BusyError where that or the lease is another one's."""
    file = opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lease = read(file)
        if is_valid(lease) and lease.get("token") != token:
            raise BusyError(lease)
        if os.fstat(file).st_nlink == 0:
            raise BusyError({})  # removed meanwhile: the next try makes it anew
    except BlockingIOError as error:
        lease = read(file)
        os.close(file)
        raise BusyError(lease) from error
    except BusyError:
        os.close(file)
        raise
    return file


def opened(path: str) -> int:
    """The file, made where there is none, for every user.

    Where every user may write, any may put a link to another's file, or a pipe, in its place.
    """
    file = opened_or_made(path)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(file)
        raise RefusedError("lock", "%s: not a file of its own" % path)
    return file


def opened_or_made(path: str) -> int:
    """Whatever has this name, or a new file; a symbolic link is not followed."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Without O_CREAT, which a sticky folder forbids for a file of another user.
        return os.open(path, flags) if os.path.lexists(path) else made(path, flags)
    except (FileExistsError, FileNotFoundError) as error:
        if not os.path.isdir(os.path.dirname(path)):
            raise RefusedError("lock", "%s: %s" % (path, error.strerror)) from error
        raise BusyError({}) from error  # made or removed at this moment: the next try finds it so
    except OSError as error:
        raise RefusedError("lock", "%s: %s" % (path, error.strerror)) from error


def made(path: str, flags: int) -> int:
    """A new file that every user may open."""
    file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    os.fchmod(file, 0o666)
    return file


def read(file: int) -> Dict[str, Any]:
    """The lease in the file; empty where there is none that can be read."""
    try:
        lease = json.loads(os.pread(file, LONGEST, 0).decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return lease if isinstance(lease, dict) else {}


def write(file: int, owner: str, token: str) -> None:
    """Leave a lease from now on; none without a token."""
    before, now = read(file), now_s()
    since = before.get("since_s") if is_valid(before) and before.get("token") == token else now
    lease = {
        "owner": owner,
        "token": token,
        "boot_id": boot_id(),
        "since_s": since,
        "until_s": now + (LEASE_S if token else 0.0),
    }
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(lease).encode("utf-8"), 0)
    except OSError as error:
        raise RefusedError("lock", "the lease cannot be written: %s" % error.strerror) from error


def is_valid(lease: Dict[str, Any]) -> bool:
    """Whether a lease was given since the board started, and has not run out."""
    until = lease.get("until_s")
    if lease.get("boot_id") != boot_id() or not isinstance(until, (int, float)):
        return False
    return now_s() < until <= now_s() + LEASE_S


def now_s() -> float:
    """The time since the board started, with its sleep; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What the kernel draws anew with each start."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()
