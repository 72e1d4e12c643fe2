"""Runs one conversion in a process of its own, which may crash, hang or write where it likes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from edgepack import errors
from edgepack.errors import EdgepackError, StepError
from edgepack.progress import Progress, Reporter
from edgepack.store import cache_folder

TIMEOUT_S = 1800
"""For one conversion; those seen took from 10 s to 2 minutes."""
GRACE_S = 10
KEPT = 5
"""Logs of failed conversions that stay, the latest."""
MODEL = "model.tflite"
"""What a program leaves in its folder."""


@dataclass(frozen=True)
class Converted:
    """What a conversion gave.

    Attributes:
        model: the .tflite.
        facts: what was found on the way, as plain data.
    """

    model: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)


def convert(
    program: str,
    job: Mapping[str, Any],
    task: str,
    report: Reporter,
    timeout_s: float = TIMEOUT_S,
) -> Converted:
    """Have a program of this package convert a model.

    The process is the leader of a session of its own, in an empty folder, which goes with it; this
    process's environment, folder and signal handlers stay as they are. It ends with this function,
    however that ends, and when this process dies.

    Args:
        program: its module, such as ``edgepack.exchange.onnx_program``.
        job: what it is told, as plain data.
        task: what is reported while it runs, such as ``convert ONNX``.
        report: hears of each stage that the program begins.
        timeout_s: the longest that it may take.

    Raises:
        EdgepackError: as the program says.
        StepError: if it dies, hangs or leaves no model.
    """
    with tempfile.TemporaryDirectory(prefix="edgepack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        with (folder / "log").open("wb") as log, _started(program, folder, log) as process:
            answer = _listen(process, task, report, time.monotonic() + timeout_s)
        model = folder / MODEL
        if "facts" in answer and model.is_file():
            return Converted(model.read_bytes(), answer["facts"])
        raise _error(task, answer, _kept(folder / "log", program))


@contextlib.contextmanager
def _started(program: str, folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", program],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **_environment(folder)},
        )
    except OSError as error:
        raise StepError(f"no process can be started: {error.strerror}", "try again") from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=GRACE_S)


def _environment(folder: Path) -> dict[str, str]:
    """What keeps the program's libraries quiet, on the CPU and out of the user's folders."""
    return {
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_USE_LEGACY_KERAS": "1",
        "TMPDIR": str(folder),
        "PYTHONPATH": str(Path(errors.__file__).parent.parent),
        "PYTHONUTF8": "1",
    }


def _listen(
    process: subprocess.Popen[bytes], task: str, report: Reporter, deadline: float
) -> dict[str, Any]:
    """The last line that a program writes; each before it is a stage that it begins."""
    said = cast(IO[bytes], process.stdout)
    begun = time.monotonic()
    answer: dict[str, Any] = {"stage": "start"}
    unread = b""
    while select.select([said], [], [], max(0.0, deadline - time.monotonic()))[0]:
        block = os.read(said.fileno(), 1 << 16)
        *lines, unread = (unread + block).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "stage" in answer:
                spent = f"{answer['stage']}, {time.monotonic() - begun:.0f} s"
                report(Progress(task, answer["number"], answer["total"], spent))
        if not block:
            return {**answer, "code": process.wait(GRACE_S)}
    return {**answer, "hung": True}


def _error(task: str, answer: Mapping[str, Any], log: str) -> EdgepackError:
    """What went wrong, on one line; where there is a log, the hint names it."""
    see = f"see {log}" if log else ""
    if "error" in answer:
        kind: type[EdgepackError] = getattr(errors, answer["kind"])
        return kind(answer["error"], "; ".join(filter(None, (answer["hint"], see))))
    stage = f"{task}: the process ended at {answer.get('stage', 'its end')!r}"
    if answer.get("hung"):
        return StepError(f"{stage}: it did not end in time", see)
    code = answer.get("code", 0)
    if code < 0:
        name = signal.Signals(-code).name
        hint = "the system kills what takes all its memory" if code == -signal.SIGKILL else ""
        return StepError(f"{stage}: it was killed by {name}", "; ".join(filter(None, (hint, see))))
    return StepError(f"{stage} without a model (exit code {code})", see)


def _kept(log: Path, program: str) -> str:
    """Move a log to where it stays; empty where nothing can be written there."""
    stem = program.rpartition(".")[2]
    try:
        folder = cache_folder() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        shutil.copyfile(log, place)
        old = sorted(folder.glob(f"{stem}-*.log"), key=lambda p: p.stat().st_mtime)[:-KEPT]
        for path in old:
            path.unlink(missing_ok=True)
    except (OSError, errors.InputError):
        return ""
    return str(place)
