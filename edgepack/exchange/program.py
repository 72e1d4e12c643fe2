"""What the programs that convert models have in common: a job comes in, lines of JSON go out."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgepack.errors import EdgepackError, InputError, MissingExtraError, StepError

LOG = "log"
TALK_BYTES = 1 << 20
"""Of a log's end, in which reasons are looked for."""
REASON = 300
"""Characters of a reason that a message repeats."""


class Teller:
    """Tells the process that waits which stage begins.

    Args:
        descriptor: where the lines go.
        stages: all of them, in order.
    """

    def __init__(self, descriptor: int, stages: Sequence[str]) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._stages = stages

    def begin(self, stage: str) -> None:
        """A stage begins."""
        number = self._stages.index(stage)
        self.tell({"stage": stage, "number": number, "total": len(self._stages)})

    def tell(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def main(
    work: Callable[[Mapping[str, Any], Teller], Mapping[str, Any]], stages: Sequence[str]
) -> None:
    """Do the job in the current folder, and tell its facts or its error.

    Args:
        work: takes the job, leaves the model in the folder, and returns facts.
        stages: what it tells of.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = os.getpid()
    if os.fork() == 0:
        _end_with_caller(worker)
    teller = Teller(os.dup(1), stages)
    os.dup2(2, 1)  # Libraries print to both; both are the log.
    try:
        facts = work(json.loads(Path("job.json").read_text(encoding="utf-8")), teller)
    except EdgepackError as error:
        _log()
        kind = InputError if isinstance(error, MissingExtraError) else type(error)
        teller.tell({"kind": kind.__name__, "error": error.message, "hint": error.hint})
    except (Exception, SystemExit) as error:
        # Converters raise whatever they like, and some leave by sys.exit.
        _log()
        teller.tell({"kind": StepError.__name__, "error": reason_of(error), "hint": ""})
    else:
        teller.tell({"facts": dict(facts)})


def _log() -> None:
    """Print the traceback of what is handled, unless it is that the disk is full."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _end_with_caller(worker: int) -> NoReturn:
    """Wait until nobody holds the other end of standard input, and end all that was started.

    In a process of its own: a thread does not run while TensorFlow's converter computes.
    """
    try:
        os.close(1)  # Its end tells the caller that the worker ended.
        while os.read(0, 1 << 10):
            continue
        if os.getppid() == worker:
            os.kill(worker, signal.SIGKILL)
        shutil.rmtree(Path.cwd(), ignore_errors=True)
    finally:
        os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(0)


def reason_of(error: BaseException) -> str:
    """The line of an exception that says most."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception encountered")]
    words = telling[0] if telling else type(error).__name__
    return words if len(words) <= REASON else f"{words[:REASON]} ..."


def talk() -> str:
    """The end of what was printed so far."""
    data = Path(LOG).read_bytes()
    return data[-TALK_BYTES:].decode(errors="replace")
