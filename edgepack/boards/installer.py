"""Runs the installer and the trial on a board, and puts what they say into words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgepack import agent
from edgepack.boards.advice import installing
from edgepack.boards.board import Board
from edgepack.boards.wheels import Candidate, releases_in_words, table
from edgepack.errors import DeviceError
from edgepack.transport import Completed, Transport

T = TypeVar("T")
UNREADABLE = (ValueError, LookupError, TypeError, RecursionError)
"""What reading an answer raises that is not the installer's: a board may say anything."""
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

    def take(answer: Any) -> Mapping[str, Mapping[str, Any]]:
        return {key: _description(answer["found"][key]) for key in answer["found"]}

    return _ask(transport, candidates[0], request, LOOK_TIMEOUT_S, take)


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
    return _ask(transport, candidate, request, INSTALL_TIMEOUT_S, _description)


def try_out(transport: Transport, python: str) -> Mapping[str, Any]:
    """What a Python of the board says of a runtime of its own.

    Raises:
        DeviceError: if the board does not answer.
    """
    source = (AGENT / "trial.py").read_text(encoding="utf-8")
    done = transport.run(
        [python, "-c", source, ""], timeout_s=float(TRIAL_TIMEOUT_S), repeatable=True
    )
    if done.killer:
        return {"error": {"kind": "crash", "message": done.killer}}
    return _read(done, _trial)


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
    transport: Transport,
    candidate: Candidate,
    request: Mapping[str, Any],
    timeout_s: float,
    take: Callable[[Any], T],
) -> T:
    """What the installer answers; ``take`` reads what is no error."""
    words = json.dumps({**request, "folder": transport.folder})
    program = (AGENT / "install.py").read_bytes()
    command = [candidate.python.path, "-I", "-", words]
    done = transport.run(command, timeout_s=timeout_s, stdin=program, repeatable=True)
    error = _read(done, lambda answer: _error(answer) if "error" in answer else None)
    if error:
        raise DeviceError(
            f"the runtime cannot be installed in {transport.folder} of the device: "
            f"{error['message']}",
            HINTS.get(error["kind"], ""),
        )
    return _read(done, take)


def _read(done: Completed, take: Callable[[Any], T]) -> T:
    """What is taken from an answer: the last line is one JSON object."""
    try:
        return take(json.loads(done.stdout.strip().rsplit("\n", 1)[-1]))
    except UNREADABLE as error:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise DeviceError(
            f"Python on the device failed with exit code {done.returncode}: {lines[-1][:200]}",
            "type: edgepack devices NAME, and see whether its Python is whole",
        ) from error


def _description(answer: Any) -> dict[str, Any]:
    """An installation as a board tells it."""
    python, packages = (_texts(answer[key]) for key in ("python", "packages"))
    if not python:
        raise ValueError("nothing starts Python")
    return {"trial": _trial(answer["trial"]), "python": python, "packages": packages}


def _trial(answer: Any) -> dict[str, Any]:
    if "error" in answer:
        return {"error": _error(answer)}
    return {key: _text(answer[key]) for key in ("runtime", "version")}


def _error(answer: Any) -> dict[str, str]:
    return {key: _text(answer["error"][key]) for key in ("kind", "message")}


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return [_text(each) for each in value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
