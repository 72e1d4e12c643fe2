"""Runs Coral's ``edgetpu_compiler`` in a folder of its own, within a time, again after a crash."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.errors import InputError, StepError
from edgepack.tflite.edgetpu_log import CompilerLog, parse

PROGRAM = "edgetpu_compiler"
VERSION_TIMEOUT_S = 30
GRACE_S = 2
"""The compiler has a timer of its own: it is killed this much later."""

SOURCE = "get it for x86-64 Linux from coral.ai/docs/edgetpu/compiler"
ELSEWHERE = "--recipe int8 --set convert.io=integer --set convert.per_channel_dense=false"
RETRY_HINT = "let it leave the end of the model to the CPU: --set edgetpu.search_delegate=true"


@dataclass(frozen=True)
class Compilation:
    """A compiled model.

    Attributes:
        model: the .tflite for the Edge TPU.
        log: what the compiler said.
        attempts: how often it was run.
    """

    model: bytes
    log: CompilerLog
    attempts: int


def find_version() -> str:
    """The version of the compiler that is on the path.

    Raises:
        InputError: if there is none, or it does not run here.
    """
    hint = f"{SOURCE}, or build what it takes and compile elsewhere: {ELSEWHERE}"
    if not shutil.which(PROGRAM):
        raise InputError(f"the program {PROGRAM} is not on the path", hint)
    try:
        done = subprocess.run(
            [PROGRAM, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{PROGRAM} does not run here: {error}", hint) from error
    said = done.stdout.decode(errors="replace")
    found = re.search(r"version (\S+)", said)
    if done.returncode or not found:
        told = " ".join((said + done.stderr.decode(errors="replace")).split())[-200:]
        raise InputError(f"{PROGRAM} --version fails: {told or done.returncode}", hint)
    return found[1]


def compile_model(
    model: bytes,
    options: Sequence[str],
    *,
    timeout_s: int,
    attempts: int,
    report: Callable[[int], None],
) -> Compilation:
    """Compile a model; a crash, as opposed to a refusal, is tried again.

    The same model was seen to fail and then to compile: github.com/google-coral/edgetpu/issues/211
    and 173.

    Args:
        model: a .tflite of 8 bits.
        options: of the compiler besides folders, timer and ``--show_operations``.
        timeout_s: the longest that one run may take.
        attempts: the most runs.
        report: called with the number of each run before it starts.

    Raises:
        StepError: if the compiler refuses the model, hangs, or crashes every time.
    """
    for attempt in range(1, attempts + 1):
        report(attempt)
        code, said, compiled = _run(model, options, timeout_s)
        log = parse(said)
        if compiled and log.mapped + log.unmapped:  # its exit codes are documented nowhere
            return Compilation(compiled, log, attempt)
        if not (log.crashed or code < 0 or code >= 128):
            break
    raise _failure(log, code, attempt)


def _run(model: bytes, options: Sequence[str], timeout_s: int) -> tuple[int, str, bytes]:
    """Exit code, output and compiled model of one run; no model where it made none."""
    with tempfile.TemporaryDirectory(prefix="edgepack-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        fixed = ["--out_dir", name, "--show_operations", "--timeout_sec", str(timeout_s)]
        argv = [PROGRAM, *fixed, *options, str(folder / "model.tflite")]
        code = _wait(argv, folder, timeout_s + GRACE_S)
        said = (folder / "output").read_text(encoding="utf-8", errors="replace")
        compiled = folder / "model_edgetpu.tflite"
        return code, said, compiled.read_bytes() if compiled.is_file() else b""


def _wait(argv: Sequence[str], folder: Path, timeout_s: int) -> int:
    """Run in a process group: the compiler is a script, whose children must not outlive it."""
    with (folder / "output").open("wb") as output:
        try:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StepError(f"{PROGRAM} cannot be started: {error.strerror}", SOURCE) from error
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"{PROGRAM} did not end within {timeout_s} s",
                f"give it more time: --set edgetpu.timeout_s={2 * timeout_s}, or {RETRY_HINT}",
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _failure(log: CompilerLog, code: int, attempts: int) -> StepError:
    why = "; ".join(log.complaints) or f"it told of no compiled operators, exit code {code}"
    times = f" in {attempts} attempts" if attempts > 1 else ""
    return StepError(f"{PROGRAM} {log.version} failed{times}: {why}", RETRY_HINT)
