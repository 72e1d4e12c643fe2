"""Which target a board is: by the name that it gives itself, and by its programs' architecture."""

from __future__ import annotations

from collections.abc import Iterable

from edgepack.boards.board import Board
from edgepack.target import Target, read_target, target_names


def fits(board: Board) -> str:
    """The target of a board by its id; empty where none fits.

    A target counts where one of its models begins the board's name and its architecture is that
    of the board's programs: a Raspberry Pi 4 with a 32-bit user land cannot take what is made
    for rpi4, so it is the target for any machine of its architecture.
    """
    alike = [target for target in _targets() if target.architecture == board.architecture]
    named = [(_named(target, board.model), target.id) for target in alike]
    length, best = max(named, default=(0, ""))
    generic = (t.id for t in alike if t.cpu == "any" and not t.models and not t.attached)
    return best if length else next(generic, "")


def accelerators(board: Board) -> tuple[str, ...]:
    """The targets that hang on a board, such as an Edge TPU on its USB."""
    return tuple(t.id for t in _targets() if t.attached and t.attached == board.edgetpu)


def _targets() -> Iterable[Target]:
    return map(read_target, target_names())


def _named(target: Target, model: str) -> int:
    """How much of the board's name a target knows, in letters, by whole words."""
    return max((len(m) for m in target.models if f"{model} ".startswith(f"{m} ")), default=0)
