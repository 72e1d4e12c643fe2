"""Holds a board for one session, so that users and sessions do not disturb each other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from edgepack.errors import DeviceError
from edgepack.measuring.answer import HINT, read_answer, read_state
from edgepack.measuring.reading import Node
from edgepack.progress import Progress, Reporter, silent
from edgepack.runtime import Job
from edgepack.transport import Completed, Transport

T = TypeVar("T")

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
        return self._ask(read_state, "state", f"--lock={self.file}")

    def temperature_c(self) -> float | None:
        """The hottest part of the CPU; None where the board does not tell."""
        return max(self.state().get("temperatures_c", ()), default=None)

    def release(self) -> None:
        """Let go of the board; one that is away is not waited for, as the lease runs out there."""
        with suppress(DeviceError):
            self._ask(_taken, "lock", "release", f"--file={self.file}", repeatable=False)

    def _ask(
        self,
        take: Callable[[Node], T],
        *words: str,
        wait_s: float = 0.0,
        repeatable: bool = True,
    ) -> T:
        limit_s = wait_s + CALL_S
        session = (f"--owner={self.owner}", f"--token={self.token}", f"--limit-s={limit_s:g}")
        done = self.transport.run(
            [*self.command, *words, *session], timeout_s=limit_s + CALL_S, repeatable=repeatable
        )
        return _read(done, take)


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
        lease.release()


def _wait(wanted: Lease, wait_s: float, report: Reporter) -> Lease:
    start = time.monotonic()
    pause_s = 0.0
    named = [f"--file={wanted.file}"] if wanted.file else []
    while True:
        words = ("lock", "take", *named, f"--wait-s={pause_s:g}")
        file, since = wanted._ask(_outcome, *words, wait_s=pause_s)
        if file:
            return replace(wanted, file=file)
        waited = time.monotonic() - start
        if waited >= wait_s:
            raise DeviceError(
                f"the device is in use: {since}",
                "measure again later, or wait longer with --wait SECONDS",
            )
        report(Progress("wait for the device", int(waited), int(wait_s), since))
        pause_s = min(PATIENCE_S, wait_s - waited)


def _read(done: Completed, take: Callable[[Node], T]) -> T:
    """What is taken out of an answer.

    Raises:
        DeviceError: if there is none, or it says why the board cannot be held.
    """
    if not done.stdout.strip():
        said = done.stderr.strip().rsplit("\n", 1)[-1]
        raise DeviceError(f"the agent on the device gives no answer: {said[-200:]!r}", HINT)
    found = read_answer(done.stdout, lambda answer: _fault(answer) or take(answer))
    if isinstance(found, DeviceError):
        raise found
    return found


def _fault(answer: Node) -> DeviceError | None:
    """Why the board cannot be held, where the agent says so."""
    if "error" not in answer.plain():
        return None
    fault = answer.field("error")
    hint = HINTS[fault.field("kind").word(HINTS)]
    return DeviceError(f"the device cannot be held: {fault.field('message').text()}", hint)


def _taken(answer: Node) -> bool:
    taken = answer.field("taken")
    if type(taken.value) is not bool:
        taken.refuse("true or false")
    return bool(taken.value)


def _outcome(answer: Node) -> tuple[str, str]:
    """The file that holds the lease where it was given, else who has it and for how long."""
    if _taken(answer):
        return answer.field("file").text("(?s).+", "a path"), ""
    owner, held_s = answer.field("owner").text(), answer.field("held_s").amount()
    return "", f"{owner} has had it for {held_s:.0f} s"
