"""What a long operation says of itself while it runs; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one piece of work has come.

    Attributes:
        task: what is being done, such as ``prune`` or ``evaluate``.
        done: units finished.
        total: units in all; 0 where that is not known.
        note: a few words on the present state, such as ``epoch 2/5, loss 0.312``.
    """

    task: str
    done: int
    total: int
    note: str = ""


Reporter = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A `Reporter` that says nothing."""
