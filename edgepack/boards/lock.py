"""Holds a board for one session, so that users and sessions do not disturb each other."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from edgepack.errors import DeviceError
from edgepack.progress import Progress, Reporter, silent
from edgepack.runtime import Job
from edgepack.transport import Transport

PATIENCE_S = 20.0
"""How long one process on the board waits for others, asleep, before it says who they are."""

CALL_S = 30.0
"""What an answer from the board may take beyond that."""

HINTS = {
    "lock": "look at the permissions and the free space there: ls -l, df",
    "busy": "the link was gone for too long: measure again when the other one has ended",
}


@dataclass(frozen=True)
class Lease:
    """A session's hold on a board.

    It lasts 30 s from the last process that carried it: call `state` while there is nothing to
    measure for longer than that.

    Attributes:
        transport: to the board.
        command: what starts the agent there, as an argument list.
        owner: who holds it, for others to read.
        token: what the session's processes are known by.
        file: the file on the board that keeps it.
    """

    transport: Transport
    command: tuple[str, ...]
    owner: str
    token: str
    file: str

    def claim(self, job: Job) -> Job:
        """The same job as one of this session's."""
        return replace(job, lock=self.file, owner=self.owner, token=self.token)

    def state(self) -> Mapping[str, Any]:
        """How the board is doing (as in conditions); the lease lasts on by that.

        Raises:
            DeviceError: if the board does not answer, or the lease has become another one's.
        """
        return self._ask("state", f"--lock={self.file}")

    def temperature_c(self) -> float | None:
        """The hottest part of the CPU; None where the board does not tell."""
        return max(self.state()["temperatures_c"], default=None)

    def _ask(self, *words: str, wait_s: float = 0.0) -> Mapping[str, Any]:
        limit_s = wait_s + CALL_S
        session = (f"--owner={self.owner}", f"--token={self.token}", f"--limit-s={limit_s:g}")
        done = self.transport.run(
            [*self.command, *words, *session], timeout_s=limit_s + CALL_S, repeatable=True
        )
        return _answer(done.stdout, done.stderr)


@contextmanager
def hold(
    transport: Transport,
    command: Sequence[str],
    owner: str,
    wait_s: float = 600.0,
    report: Reporter = silent,
    file: str = "",
) -> Iterator[Lease]:
    """Hold a board until the end of a ``with`` block.

    Args:
        transport: to the board.
        command: what starts the agent there, as an argument list.
        owner: who wants it, for others to read: ``user@host``.
        wait_s: how long to wait for others, in s.
        report: is told who has it.
        file: the lock on the board; empty for that of all its users.

    Raises:
        DeviceError: if others still have it after that, or the board does not answer.
    """
    wanted = Lease(transport, tuple(command), owner, secrets.token_hex(8), file)
    lease = _wait(wanted, wait_s, report)
    try:
        yield lease
    finally:
        # Where the link is gone, the lease runs out by itself.
        with suppress(DeviceError):
            lease._ask("lock", "release", f"--file={lease.file}")


def _wait(wanted: Lease, wait_s: float, report: Reporter) -> Lease:
    start = time.monotonic()
    pause_s = 0.0
    named = [f"--file={wanted.file}"] if wanted.file else []
    while True:
        answer = wanted._ask("lock", "take", *named, f"--wait-s={pause_s:g}", wait_s=pause_s)
        if answer["taken"]:
            return replace(wanted, file=answer["file"])
        waited = time.monotonic() - start
        since = f"{answer['owner']} has had it for {answer['held_s']:.0f} s"
        if waited >= wait_s:
            raise DeviceError(
                f"the device is in use: {since}",
                "measure again later, or wait longer with --wait SECONDS",
            )
        report(Progress("wait for the device", int(waited), int(wait_s), since))
        pause_s = min(PATIENCE_S, wait_s - waited)


def _answer(stdout: str, stderr: str) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = json.loads(stdout.strip().rsplit("\n", 1)[-1])
        fault = answer.get("error")
    except (json.JSONDecodeError, AttributeError) as error:
        said = (stderr or stdout).strip().rsplit("\n", 1)[-1]
        raise DeviceError(f"the agent on the device gives no answer: {said[-200:]!r}") from error
    if fault:
        raise DeviceError(f"the device cannot be held: {fault['message']}", HINTS[fault["kind"]])
    return answer
