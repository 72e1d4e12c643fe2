"""A runtime on a board: one that it has, or one that is brought along, unpacked and tried."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.artifact import sha256_of
from edgepack.boards import debian, installer
from edgepack.boards.archives import obtain_wheels
from edgepack.boards.board import RUNTIMES, Board
from edgepack.boards.files import push
from edgepack.boards.wheels import INSTALLED, Candidate, bears_edgetpu, choose, select
from edgepack.errors import DeviceError
from edgepack.progress import Progress, Reporter, silent
from edgepack.transport import Transport

TASK = "runtime"


@dataclass(frozen=True)
class Wish:
    """Which runtime a user wants, and where from.

    Attributes:
        version: ``PACKAGE`` or ``PACKAGE==VERSION`` of edgepack's table, to bring along;
            ``installed`` for what the device has; empty for the best of the table.
        wheelhouse: a folder that holds the files, where this machine has no connection.
        edgetpu: whether it is to run a model on the Edge TPU, by the device's libedgetpu.
    """

    version: str = ""
    wheelhouse: Path | None = None
    edgetpu: bool = False


@dataclass(frozen=True)
class Installation:
    """A runtime that was tried on a device.

    Attributes:
        python: what starts Python there, as an argument list.
        packages: folders that Python is to look into first.
        runtime: the distribution, such as ``ai-edge-litert``.
        version: of it; empty where it cannot be told.
        notes: what a user should know, such as that another runtime crashed.
    """

    python: tuple[str, ...]
    packages: tuple[str, ...]
    runtime: str
    version: str
    notes: tuple[str, ...] = ()


def provide(
    transport: Transport, board: Board, wish: Wish = Wish(), report: Reporter = silent
) -> Installation:
    """Make a runtime ready on a device; what is there already is not sent again.

    A device whose transport names a Python (this machine) is left as it is. A board for which
    nothing can be brought along uses what it has. For the Edge TPU it is the other way round: what
    a board has goes with its libedgetpu, and what is brought along may crash with it.

    Args:
        transport: to the device.
        board: as it was found.
        wish: which runtime, and where from.
        report: where progress goes.

    Raises:
        InputError: if there is no such runtime.
        DeviceError: if none can be had or none works; it says why, and what to type.
    """
    if wish.edgetpu:
        return _noted(_for_edgetpu(transport, board, wish, report))
    if transport.python:
        return _own(transport, board, wish)
    if wish.version == INSTALLED:
        return _present(transport, board, wish)
    try:
        candidates = choose(board, wish.version)
    except DeviceError as error:
        if wish.version or not _has_runtime(board):
            raise
        note = f"{error.message}: the device's own runtime is used"
        return replace(_present(transport, board, wish), notes=(note,))
    return _bring(transport, board, candidates, wish, report)


def _for_edgetpu(transport: Transport, board: Board, wish: Wish, report: Reporter) -> Installation:
    """What the board has, or else a release that libedgetpu bears."""
    if transport.python:
        return _own(transport, board, wish)
    if wish.version == INSTALLED or (not wish.version and _has_runtime(board)):
        return _present(transport, board, wish)
    try:
        candidates = choose(board, wish.version, edgetpu=True)
    except DeviceError as error:
        message = f"{installer.EDGETPU_CONFLICT}, and older ones cannot be had: {error.message}"
        raise DeviceError(message, f"{installer.EDGETPU_HINT}; or {error.hint}") from error
    return _bring(transport, board, candidates, wish, report)


def _noted(found: Installation) -> Installation:
    """An installation for the Edge TPU, with a word where that may crash."""
    if not found.version or bears_edgetpu(found.runtime, found.version):
        return found
    note = f"{installer.EDGETPU_CONFLICT}: {found.runtime} {found.version} needs one built for it"
    return replace(found, notes=(*found.notes, note))


def _own(transport: Transport, board: Board, wish: Wish) -> Installation:
    """The runtime of a device whose Python is given, if it is what is wished for."""
    found = _tried(transport, board, transport.python, wish)
    title = f"{found.runtime}=={found.version}"
    if wish.version in ("", INSTALLED, found.runtime, title):
        return found
    select(wish.version)
    raise DeviceError(
        f"nothing is brought along to this device, whose {transport.python} has {title}, "
        f"not {wish.version}",
        f"type: {transport.python} -m pip install {wish.version}",
    )


def _has_runtime(board: Board) -> bool:
    return any(python.usable and set(RUNTIMES) & set(python.packages) for python in board.pythons)


def _present(transport: Transport, board: Board, wish: Wish) -> Installation:
    """The runtime that a board has."""
    if not board.python or not _has_runtime(board):
        raise DeviceError(
            f"the device has neither {' nor '.join(RUNTIMES)}",
            f"leave --runtime-version {INSTALLED} away, and edgepack brings one along",
        )
    return _tried(transport, board, board.python.path, wish)


def _tried(transport: Transport, board: Board, python: str, wish: Wish) -> Installation:
    trial = installer.try_out(transport, python)
    if "error" in trial:
        what = f"the runtime of {python}"
        raise installer.fault(what, trial["error"], board, edgetpu=wish.edgetpu)
    return Installation((python,), (), trial["runtime"], trial["version"])


def _bring(
    transport: Transport,
    board: Board,
    candidates: Sequence[Candidate],
    wish: Wish,
    report: Reporter,
) -> Installation:
    """The first candidate that works; what is known to crash there is not sent again."""
    report(Progress(TASK, 0, 0, "look for one on the device"))
    known = installer.look(transport, candidates)
    faults: list[DeviceError] = []
    ask = functools.cache(functools.partial(debian.ask, transport))
    for candidate in candidates:
        found = known.get(candidate.key)
        if found is None:
            packages = ask(candidate.debian) if candidate.debian else ()
            found = _install(transport, candidate, packages, wish, report)
        if "error" not in found["trial"]:
            return _installation(candidate, found, faults)
        what, error = str(candidate.release), found["trial"]["error"]
        faults.append(installer.fault(what, error, board, edgetpu=wish.edgetpu))
        report(Progress(TASK, 0, 0, faults[-1].message))
    raise DeviceError("; ".join(fault.message for fault in faults), faults[0].hint)


def _install(
    transport: Transport,
    candidate: Candidate,
    packages: Sequence[debian.Package],
    wish: Wish,
    report: Reporter,
) -> Mapping[str, Any]:
    """Send what a candidate needs, and have it unpacked and tried."""
    if unfit := [p for p in packages if p.package in candidate.debian and not _fits(candidate, p)]:
        words = (
            f"it does not work with {unfit[0].package} {unfit[0].version} of the device's system"
        )
        return {"trial": {"error": {"kind": "failure", "message": words}}}
    files = obtain_wheels(candidate.wheels, wish.wheelhouse, report)
    files += debian.obtain_packages(packages, wish.wheelhouse, report)
    archives = [
        {"path": push(transport, file, report), "sha256": sha256_of(file)} for file in files
    ]
    report(Progress(TASK, 0, 0, f"unpack and try {candidate.release}"))
    return installer.install(transport, candidate, archives)


def _fits(candidate: Candidate, package: debian.Package) -> bool:
    return candidate.release.takes(package.version)


def _installation(
    candidate: Candidate, found: Mapping[str, Any], faults: Sequence[DeviceError]
) -> Installation:
    release = candidate.release
    return Installation(
        python=tuple(found["python"]),
        packages=tuple(found["packages"]),
        runtime=release.package,
        version=release.version,
        notes=tuple(f"{fault.message}: {release} is used instead" for fault in faults),
    )
