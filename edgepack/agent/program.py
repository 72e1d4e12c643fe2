"""The agent as a program: what it is asked to do, and one JSON object as its answer.

It runs on any device with Python 3.7 up, numpy and a TFLite runtime. What fails is answered with
``{"error": {"kind": ..., "message": ...}}``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from typing import Any, ContextManager, Dict, List, Optional

from edgepack.agent import leash, lock, machine, measure
from edgepack.agent.refusal import RefusedError

KINDS = ("latency", "memory", "operators", "outputs")
DELEGATES = ("xnnpack", "none", "edgetpu")


def main(argv: Optional[List[str]] = None) -> int:
    """Do what is asked, print the answer, and return the exit code."""
    options = parser().parse_args(argv)
    leash.hold(options.limit_s)
    try:
        answer = options.run(options)
    except RefusedError as error:
        answer = {"error": {"kind": error.kind, "message": str(error)}}
    print(json.dumps(answer, separators=(",", ":")))
    return 1 if "error" in answer else 0


def run_job(options: argparse.Namespace) -> Dict[str, Any]:
    """Measure, with the board locked where that is asked for."""
    sys.path[:0] = [os.path.abspath(folder) for folder in options.packages]
    with locked(options):
        return measure.answer(options)


def run_state(options: argparse.Namespace) -> Dict[str, Any]:
    """How the machine is doing; a session's lease is kept by that."""
    with locked(options):
        return dict(machine.state(), kind="state")


def run_lock(options: argparse.Namespace) -> Dict[str, Any]:
    """Take or release the lease of a session."""
    path = options.file or lock.place()
    if options.action == "release":
        return lock.release(path, options.token)
    return lock.take(path, options.owner, options.token, options.wait_s)


@contextlib.contextmanager
def _held(options: argparse.Namespace) -> Any:
    try:
        with lock.held(options.lock, options.owner, options.token):
            yield
    except lock.BusyError as busy:
        words = "%s has the board, for %.0f s now" % (busy.owner, busy.held_s)
        raise RefusedError("busy", words) from busy


def locked(options: argparse.Namespace) -> ContextManager[None]:
    """The lock that the options name, or none."""
    return _held(options) if options.lock else contextlib.nullcontext()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    program = argparse.ArgumentParser(prog="agent.pyz", description="Measures a TFLite model.")
    kinds = program.add_subparsers(dest="kind", metavar="KIND")
    kinds.required = True
    for kind in KINDS:
        _job_options(kinds.add_parser(kind))
    _add_state(kinds.add_parser("state", help="how the machine is doing"))
    _add_lock(kinds.add_parser("lock", help="take or release the board"))
    return program


def _job_options(job: argparse.ArgumentParser) -> None:
    job.set_defaults(run=run_job)
    job.add_argument("model", help=".tflite file")
    job.add_argument("--inputs", help=".npz file with arrays input.NAME; else random inputs")
    job.add_argument("--outputs", help=".npz file to write the outputs to")
    job.add_argument("--packages", action="append", default=[], help="where Python looks first")
    job.add_argument("--delegate", choices=DELEGATES, default=DELEGATES[0])
    job.add_argument("--threads", type=int, default=1)
    job.add_argument("--runs", type=int, default=50, help="fewest timed runs")
    job.add_argument("--seconds", type=float, default=1.0, help="shortest time of timed runs")
    job.add_argument("--warmup-s", type=float, default=5.0, help="longest warm-up")
    job.add_argument("--lock", help="file to hold locked meanwhile")
    _add_session(job)


def _add_state(state: argparse.ArgumentParser) -> None:
    state.set_defaults(run=run_state)
    state.add_argument("--lock", help="file with the lease to keep")
    _add_session(state)


def _add_lock(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run_lock)
    command.add_argument("action", choices=("take", "release"))
    command.add_argument("--file", help="that of the board where none is named")
    command.add_argument("--wait-s", type=float, default=0.0, help="for another one to end")
    _add_session(command)


def _add_session(command: argparse.ArgumentParser) -> None:
    command.add_argument("--owner", default="", help="who measures")
    command.add_argument("--token", default="", help="of the session that has the board")
    command.add_argument("--limit-s", type=float, default=600.0, help="the process ends after this")
