"""Runs the installer and the trial on a board, and puts what they say into words."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack import agent
from edgepack.boards.advice import installing
from edgepack.boards.board import Board
from edgepack.boards.wheels import Candidate, releases_in_words, table
from edgepack.errors import DeviceError
from edgepack.transport import Completed, Transport

AGENT = Path(agent.__file__).parent
TRIAL_TIMEOUT_S = 120
LOOK_TIMEOUT_S = 180.0
INSTALL_TIMEOUT_S = 900.0
"""Longer than the board waits for another session and for the trial."""

CLEAN = "edgepack devices NAME --clean removes what edgepack has left there"
EDGETPU_CONFLICT = "libedgetpu 16.0 crashes with TFLite 2.12 and later"
EDGETPU_HINT = (
    "install on the device a runtime that goes with its libedgetpu, such as tflite-runtime 2.5 of "
    "Coral's own index, or a libedgetpu that was built for its runtime: docs/coral.md"
)
"""What to do where a runtime and libedgetpu do not go together."""
HINTS = {
    "space": f"make room there; {CLEAN}",
    "files": "make edgepack's folder writable for the user who logs in, or name another one: "
    "folder = ... in devices.toml",
    "busy": "try again when it has ended",
    "archive": "try again; if it comes back, look at the device's disk: dmesg | tail",
    "tool": "try again; if it comes back, look at the device's disk: dmesg | tail",
}
"""What to do about each kind of error of the installer."""


def look(transport: Transport, candidates: Sequence[Candidate]) -> Mapping[str, Mapping[str, Any]]:
    """What is there of some candidates, whole, by their keys: up to the first that works.

    Raises:
        DeviceError: if the board does not answer.
    """
    request = {"action": "look", "keys": [candidate.key for candidate in candidates]}
    answer = _ask(transport, candidates[0], request, LOOK_TIMEOUT_S)
    found: Mapping[str, Mapping[str, Any]] = answer["found"]
    return found


def install(
    transport: Transport, candidate: Candidate, archives: Iterable[Mapping[str, str]]
) -> Mapping[str, Any]:
    """Unpack archives on a board and try what they hold.

    Where the connection drops it may be run again: the board finishes what it began, and a second
    run finds that. A board that fails, or is switched off, leaves nothing that is taken for whole.

    Args:
        transport: to the board.
        candidate: what to install.
        archives: path on the board and sha256 of each.

    Returns:
        python (an argument list), packages (folders) and trial (an ``error`` where it failed).

    Raises:
        DeviceError: if the board has no room or does not do its part.
    """
    request = {
        "action": "install",
        "key": candidate.key,
        "python": candidate.python.path,
        "runtime": candidate.release.package,
        "archives": list(archives),
        "unused": table().unused,
        "trial": (AGENT / "trial.py").read_text(encoding="utf-8"),
        "limit_s": TRIAL_TIMEOUT_S,
    }
    return _ask(transport, candidate, request, INSTALL_TIMEOUT_S)


def try_out(transport: Transport, python: str) -> Mapping[str, Any]:
    """What a Python of the board says of a runtime of its own.

    Raises:
        DeviceError: if the board does not answer.
    """
    source = (AGENT / "trial.py").read_text(encoding="utf-8")
    done = transport.run(
        [python, "-c", source, ""], timeout_s=float(TRIAL_TIMEOUT_S), repeatable=True
    )
    if done.returncode < 0:
        return {"error": {"kind": "crash", "message": signal.Signals(-done.returncode).name}}
    return _answer(done)


def fault(
    what: str, error: Mapping[str, str], board: Board, *, edgetpu: bool = False
) -> DeviceError:
    """What a trial that failed means.

    Args:
        what: the runtime in words.
        error: kind and message of the trial.
        board: where it was tried.
        edgetpu: whether it was to be used with libedgetpu.
    """
    kind, message = error["kind"], error["message"]
    if kind == "crash":
        where = board.cpu or board.architecture or "the device"
        hint = (
            f"its build does not suit this CPU: add --runtime-version with another one of "
            f"{releases_in_words()}"
        )
        return DeviceError(
            f"{what} crashes with {message} on {where}",
            f"{EDGETPU_CONFLICT}, so not every runtime will do: {EDGETPU_HINT}"
            if edgetpu
            else hint,
        )
    if kind == "import" and "libstdc++.so.6: cannot open" in message:
        return DeviceError(f"{what} needs libstdc++.so.6", installing(board, "libstdc++6"))
    return DeviceError(
        f"{what} does not work on the device: {message}",
        f"add --runtime-version with another one of {releases_in_words()}",
    )


def _ask(
    transport: Transport, candidate: Candidate, request: Mapping[str, Any], timeout_s: float
) -> Mapping[str, Any]:
    words = json.dumps({**request, "folder": transport.folder})
    program = (AGENT / "install.py").read_bytes()
    command = [candidate.python.path, "-I", "-", words]
    done = transport.run(command, timeout_s=timeout_s, stdin=program, repeatable=True)
    answer = _answer(done)
    if "error" in answer:
        kind, message = answer["error"]["kind"], answer["error"]["message"]
        raise DeviceError(
            f"the runtime cannot be installed in {transport.folder} of the device: {message}",
            HINTS.get(kind, ""),
        )
    return answer


def _answer(done: Completed) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
    except json.JSONDecodeError as error:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise DeviceError(
            f"Python on the device failed with exit code {done.returncode}: {lines[-1][:200]}",
            "type: edgepack devices NAME, and see whether its Python is whole",
        ) from error
    return answer
