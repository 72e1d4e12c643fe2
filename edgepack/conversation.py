"""Feeds a running program and drains it, with a clock that restarts when it takes its input."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from edgepack import transport
from edgepack.errors import DeviceError
from edgepack.transport import Completed

SLOWEST_INPUT_BYTES_PER_S = 1000.0
INPUT_WINDOW_S = 60.0
"""What takes less than that rate, for that long, is given up."""


class Program(Protocol):
    """A running program; what blocks here ends when the program is killed."""

    def write(self, data: memoryview) -> int:
        """Hand over input: how many bytes it took; raises BrokenPipeError if it takes no more."""
        ...

    def end_input(self) -> None:
        """Close its input; raises BrokenPipeError where the program takes no more."""
        ...

    def read(self) -> bytes:
        """The next piece of output; empty at its end."""
        ...

    def read_error(self) -> bytes:
        """The next piece of standard error; empty at its end."""
        ...

    def wait(self) -> int:
        """Its exit code; -N where signal N killed it."""
        ...

    def kill(self) -> None:
        """End it and all that wait for it here; must not block for long."""
        ...


def converse(program: Program, stdin: bytes | Iterable[bytes], timeout_s: float) -> Completed:
    """Give a program its input, and take all that it says until it ends.

    Args:
        program: just started; whatever happens, it has ended or was killed afterwards.
        stdin: what it reads; closed after that.
        timeout_s: the longest time from its start, or from when it last took input, to its end.

    Raises:
        TimeoutError: if it had not ended by then.
        DeviceError: if it says more than a transport keeps, or takes its input too slowly.
        Exception: what ``stdin``, reading, writing or waiting raised.
    """
    output, stderr, codes = bytearray(), bytearray(), list[int]()
    chunks = [stdin] if isinstance(stdin, bytes) else stdin
    talk = _Talk(timeout_s)
    talk.do(lambda: _drain(program.read, output, transport.MOST_OUTPUT_BYTES))
    talk.do(lambda: _drain(program.read_error, stderr, transport.MOST_ERROR_BYTES))
    talk.do(lambda: codes.append(program.wait()))
    talk.do(lambda: _feed(program, chunks, talk.restart), awaited=False)
    try:
        talk.await_all()
    except BaseException:
        program.kill()
        raise
    return Completed(codes[0], bytes(output), stderr.decode("utf-8", errors="replace"))


class _Talk:
    """Threads that must all end before a deadline that can be put off."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._ends: queue.SimpleQueue[tuple[bool, BaseException | None]] = queue.SimpleQueue()
        self._awaited = 0
        self.restart()

    def restart(self) -> None:
        self._deadline = time.monotonic() + self._timeout_s

    def do(self, work: Callable[[], object], *, awaited: bool = True) -> None:
        def run() -> None:
            fault: BaseException | None = None
            try:
                work()
            except BaseException as error:
                fault = error
            self._ends.put((awaited, fault))

        self._awaited += awaited
        threading.Thread(target=run, daemon=True).start()

    def await_all(self) -> None:
        while self._awaited:
            awaited, fault = self._next_end()
            if fault:
                raise fault
            self._awaited -= awaited

    def _next_end(self) -> tuple[bool, BaseException | None]:
        while (left := self._deadline - time.monotonic()) > 0:
            try:
                return self._ends.get(timeout=left)
            except queue.Empty:
                continue
        raise TimeoutError


def _drain(read: Callable[[], bytes], into: bytearray, most_bytes: int) -> None:
    while piece := read():
        if len(into) + len(piece) > most_bytes:
            raise DeviceError(
                f"a program on the device said more than {most_bytes / (1 << 20):g} MiB and was "
                "killed",
                "ask for less at once; if it comes back, look what runs on the device",
            )
        into += piece


def _feed(program: Program, chunks: Iterable[bytes], taken: Callable[[], None]) -> None:
    """A program may end before it has read everything: its exit code tells whether it should."""
    rate = _Rate()
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                start = time.monotonic()
                count = program.write(rest)
                rest = rest[count:]
                rate.add(count, time.monotonic() - start)
                taken()
        program.end_input()
    except BrokenPipeError:
        return


class _Rate:
    """Watches how fast input is taken; only the time counts that handing it over takes."""

    def __init__(self) -> None:
        self._bytes, self._seconds = 0, 0.0

    def add(self, count: int, seconds: float) -> None:
        self._bytes += count
        self._seconds += seconds
        if self._seconds < INPUT_WINDOW_S:
            return
        if self._bytes < SLOWEST_INPUT_BYTES_PER_S * self._seconds:
            raise DeviceError(
                f"a program on the device took {self._bytes} bytes in {self._seconds:.0f} s, which "
                "is too slow, and was killed",
                "look what keeps the device or its network busy, then do the same again",
            )
        self._bytes, self._seconds = 0, 0.0
