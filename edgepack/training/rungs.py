"""When a training run sets how many weights to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MASK_UPDATES = 100
"""How often, at most, a schedule chooses anew what is zero."""


@dataclass(frozen=True)
class Rung:
    """After so many batches, this fraction is zero."""

    batch: int
    sparsity: float


def rungs(
    schedule: str, steps: int, *, start: float, end: float, sparsity: float, rounds: int
) -> Sequence[Rung]:
    """The rungs of a schedule; the last one reaches the sparsity.

    Args:
        schedule: ``polynomial`` (Zhu and Gupta 2017, arXiv:1710.01878, equation 1), ``constant``,
            or ``iterative``: each round trains, then takes the same fraction of what is left (Han
            et al. 2015, arXiv:1506.02626, section 3); what comes after the last one trains on.
        steps: batches of the whole training.
        start: of the training, where it begins.
        end: of the training, where it ends.
        sparsity: the fraction of zeros in the end.
        rounds: of ``iterative``.
    """
    begin = max(1, round(start * steps))
    last = max(begin, min(steps, round(end * steps)))
    if schedule == "constant":
        return [Rung(begin, sparsity)]
    if schedule == "iterative":
        batches = [begin + round((last - begin) * (i + 1) / rounds) for i in range(rounds)]
        left = [(1 - sparsity) ** ((i + 1) / rounds) for i in range(rounds)]
        return [Rung(batch, 1 - rest) for batch, rest in zip(batches, left, strict=True)]
    every = max(1, steps // MASK_UPDATES)
    batches = [*range(begin, last, every), last]
    return [Rung(batch, _polynomial(batch, begin, last, sparsity)) for batch in batches]


def _polynomial(batch: int, begin: int, last: int, sparsity: float) -> float:
    ahead = (last - batch) / max(1, last - begin)
    return sparsity - sparsity * ahead**3
