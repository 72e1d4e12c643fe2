"""Shows progress on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from edgepack.progress import Progress, Reporter, silent
from edgepack.table import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

EVERY_S = 5.0
"""How often a log that is no terminal gets a line about the same task."""


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Reporter]:
    """A reporter for a long operation.

    It writes to a copy of standard error, because TensorFlow's own talk is kept from the original.
    """
    if quiet:
        yield silent
        return
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1))
        yield stack.enter_context(_bar(stream) if stream.isatty() else _lines(stream))


@contextlib.contextmanager
def _bar(stream: TextIO) -> Iterator[Reporter]:
    from rich import progress as rich
    from rich.console import Console

    columns = [
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[note]}", markup=False),
    ]
    tasks: dict[str, TaskID] = {}
    with rich.Progress(*columns, console=Console(file=stream)) as bars:

        def report(now: Progress) -> None:
            note = printable(now.note)
            if now.task not in tasks:
                tasks[now.task] = bars.add_task(now.task, total=now.total or None, note=note)
            known: dict[str, Any] = {"total": now.total} if now.total else {}
            bars.update(tasks[now.task], completed=now.done, note=note, **known)

        yield report


@contextlib.contextmanager
def _lines(stream: TextIO) -> Iterator[Reporter]:
    last: dict[tuple[str, int], float] = {}
    began: dict[tuple[str, int], float] = {}

    def report(now: Progress) -> None:
        clock = time.monotonic()
        counted = now.task, now.total  # a step among steps, then the batches inside it
        began.setdefault(counted, clock)
        if clock - last.get(counted, -EVERY_S) < EVERY_S:
            return
        last[counted] = clock
        stream.write(line(now, clock - began[counted]) + "\n")

    yield report


def line(now: Progress, elapsed_s: float) -> str:
    """One line of a log: the task, how far it is, and about how long it still takes."""
    parts = [now.task]
    if now.total:
        parts.append(f"{now.done}/{now.total}")
    if now.note:
        parts.append(printable(now.note))
    if now.done and now.total and elapsed_s > 1:
        parts.append(f"about {elapsed_s / now.done * (now.total - now.done):.0f} s left")
    return "  ".join(parts)
