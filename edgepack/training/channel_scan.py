"""Tries each group of channels alone at several widths: what the loss says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack.surgery.channels import Array
from edgepack.surgery.coupling import Coupling, Group
from edgepack.surgery.cutting import cut

SHARES = (0.25, 0.5, 0.75)
"""Of a group's channels that are tried without."""


@dataclass(frozen=True)
class Trial:
    """What became of the loss with one group narrower.

    Attributes:
        width: of the group.
        growth: of the loss, as a part of the whole model's; below 0 where it fell.
    """

    width: int
    growth: float


def scan(
    model: Any,
    coupling: Coupling,
    groups: Sequence[Group],
    scores: Sequence[Array],
    multiple: int,
    judge: Callable[[Any], float],
) -> list[list[Trial]]:
    """The trials of each group, from the widest to the narrowest.

    Args:
        model: a flat functional tf_keras model.
        coupling: its channels.
        groups: those to try.
        scores: of their channels; the least go first.
        multiple: that widths are cut to.
        judge: the loss of a model.
    """
    whole = judge(model)
    found = []
    for group, values in zip(groups, scores, strict=True):
        trials = []
        for width in _widths(len(values), multiple):
            gone = least(group, values, len(values) - width)
            growth = judge(cut(model, coupling, gone)) / max(whole, 1e-9) - 1
            trials.append(Trial(width, growth))
        found.append(trials)
    return found


def _widths(whole: int, multiple: int) -> list[int]:
    wanted = [round(whole * (1 - share) / multiple) * multiple for share in SHARES]
    return sorted({w for w in wanted if 0 < w < whole}, reverse=True)


def least(group: Group, scores: Array, count: int) -> list[int]:
    """The channels of a group that matter least; of equals the first stay."""
    ranked = np.lexsort((-np.arange(len(scores)), scores))
    return [int(n) for n in group.channels[ranked[:count]]]


def damage(trials: Sequence[Trial], whole: int) -> Array:
    """The growth of the loss by the number of channels that are cut, never falling; on a line
    between trials and beyond.
    """
    cuts = [0, *(whole - trial.width for trial in trials)]
    growths = np.maximum.accumulate([0.0, *(trial.growth for trial in trials)])
    if len(cuts) == 1:
        return np.zeros(whole + 1)
    curve = np.interp(np.arange(whole + 1), cuts, growths)
    slope = (growths[-1] - growths[-2]) / (cuts[-1] - cuts[-2])
    beyond = np.maximum(np.arange(whole + 1) - cuts[-1], 0)
    found: Array = curve + beyond * slope
    return found


def narrowest(trials: Sequence[Trial], whole: int, budget: float) -> int:
    """The smallest width that was tried of which the loss grew by no more than a budget."""
    fitting = [trial.width for trial in trials if trial.growth <= budget]
    return min([whole, *fitting])
