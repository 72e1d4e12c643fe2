"""What can be done with a device: its target, what is brought along, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgepack.boards.advice import Advice, advise
from edgepack.boards.board import RUNTIMES, Board, Python
from edgepack.boards.fitting import accelerators, fits
from edgepack.boards.wheels import HOPELESS, choose
from edgepack.device import Device
from edgepack.errors import DeviceError


@dataclass(frozen=True)
class Outlook:
    """A board in the light of what edgepack wants of it.

    Attributes:
        device: how it is reached.
        board: what was found.
        target: its target: the one that ``devices.toml`` names, else the one that fits; empty
            where there is none.
        accelerators: targets that hang on it.
        brought: what is brought along, as pip or Debian knows it; empty where a runtime is there.
        python: the interpreter that runs it; empty where none can.
        advice: what to do.
    """

    device: Device
    board: Board
    target: str
    accelerators: tuple[str, ...]
    brought: tuple[str, ...]
    python: str
    advice: tuple[Advice, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data: ``facts`` as they were found, ``gaps`` with reasons, and the rest."""
        return {
            "device": asdict(self.device),
            "target": self.target,
            "accelerators": list(self.accelerators),
            "brought": list(self.brought),
            "python": self.python,
            "advice": [asdict(advice) for advice in self.advice],
            "facts": _plain(self.board.facts),
            "gaps": dict(self.board.gaps),
        }


def outlook(device: Device, board: Board, own_python: str = "") -> Outlook:
    """Judge what was found.

    Args:
        device: how it is reached.
        board: what was found.
        own_python: the interpreter that the transport names; nothing is brought to such a one.
    """
    python, brought, missing = _runtime(board, own_python)
    fitting = fits(board)
    named = "" if device.transport == "local" else device.target
    return Outlook(
        device,
        board,
        named or fitting or device.target,
        accelerators(board),
        brought,
        python,
        (*_other_target(named, fitting), *advise(board), *missing),
    )


def _runtime(board: Board, own: str) -> tuple[str, tuple[str, ...], tuple[Advice, ...]]:
    """The interpreter, what it is given, and why there is nothing to give."""
    if own:
        here = any(python.path == own and runtime_of(python) for python in board.pythons)
        hint = f"type: {own} -m pip install ai-edge-litert"
        lacking = (Advice("no-runtime", f"{own} has no runtime", hint),)
        return own, (), () if here else lacking
    try:
        best = choose(board)[0]
    except DeviceError as error:
        if board.python and runtime_of(board.python):
            return board.python.path, (), ()
        said = {advice.code for advice in advise(board)} & set(HOPELESS)
        return "", (), () if said else (Advice("no-runtime", error.message, error.hint),)
    brought = (*(wheel.requirement for wheel in best.wheels), *best.debian)
    return best.python.path, brought, ()


def runtime_of(python: Python) -> str:
    """The runtime that an interpreter has, with its version; empty where it has none."""
    found = [f"{name} {python.packages[name]}" for name in RUNTIMES if name in python.packages]
    return found[0].strip() if found else ""


def _other_target(named: str, fitting: str) -> tuple[Advice, ...]:
    if not named or not fitting or named == fitting:
        return ()
    said = f"devices.toml says {named}, but the board is {fitting}"
    return (Advice("other-target", said, f'write target = "{fitting}" there, or leave it out'),)


def _plain(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: dict(fact) for name, fact in facts.items()}
