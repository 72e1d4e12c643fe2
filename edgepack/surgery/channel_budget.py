"""Chooses how many channels each group keeps, under one budget for the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgepack.network.kernels import KERNELS, call_macs
from edgepack.surgery.channels import Array
from edgepack.surgery.coupling import Coupling, Group

MEASURES = ("channels", "macs", "parameters")
"""What a budget may count."""


@dataclass(frozen=True)
class Weight:
    """How one weight of a model grows with the widths of groups.

    Attributes:
        shape: of which each dimension is ``base + counts @ widths``.
        base: what stays, for each dimension.
        counts: for each dimension and group how often each of its channels is found there.
        positions: where it is applied to a sample; 0 for what is no kernel.
    """

    base: Array
    counts: Array
    positions: int


@dataclass(frozen=True)
class Costs:
    """What a model costs with any widths; it agrees with `edgepack.network.kernels`.

    Attributes:
        weights: all that have dimensions.
        fixed_macs: of layers without channels to cut.
    """

    weights: tuple[Weight, ...]
    fixed_macs: int = 0

    def __call__(self, measure: str, widths: Array) -> int:
        """One of `MEASURES` for the width of each group."""
        if measure == "channels":
            return int(widths.sum())
        base, counts, starts, positions = self._tables
        sizes = np.multiply.reduceat(base + counts @ widths, starts)
        if measure == "parameters":
            return int(sizes.sum())
        return int((sizes * positions).sum()) + self.fixed_macs

    @cached_property
    def _tables(self) -> tuple[Array, Array, Array, Array]:
        ranks = [len(weight.base) for weight in self.weights]
        return (
            np.concatenate([weight.base for weight in self.weights]),
            np.concatenate([weight.counts for weight in self.weights]),
            np.cumsum([0, *ranks[:-1]]),
            np.array([weight.positions for weight in self.weights]),
        )


def costs_of(model: Any, coupling: Coupling, groups: Sequence[Group]) -> Costs:
    """The costs of a flat model by the widths of some of its groups."""
    cuttable = {place.layer for place in coupling.places}
    spent: dict[str, int] = {}
    for node in (n for nodes in model._nodes_by_depth.values() for n in nodes if not n.is_input):
        spent[node.layer.name] = spent.get(node.layer.name, 0) + call_macs(node)
    weights = []
    for layer in model.layers:
        own = [w for w in layer.weights if _is_kernel(w)] if layer.name in cuttable else []
        size = sum(int(np.prod(w.shape)) for w in own)
        positions = spent.get(layer.name, 0) // size if size else 0
        for i, variable in enumerate(layer.weights):
            applied = positions if any(variable is w for w in own) else 0
            weights.append(_weight(layer.name, i, variable.shape, groups, applied))
    fixed = sum(count for name, count in spent.items() if name not in cuttable)
    return Costs(tuple(w for w in weights if len(w.base)), fixed)


def _is_kernel(variable: Any) -> bool:
    name: str = variable.name
    return name.split(":")[0].rsplit("/", 1)[-1] in KERNELS


def _weight(layer: str, key: int, shape: Any, groups: Sequence[Group], positions: int) -> Weight:
    counts = np.zeros((len(shape), len(groups)), np.int64)
    for column, group in enumerate(groups):
        for place, count in group.counts.items():
            if (place.layer, place.kind, place.key) == (layer, "weight", key):
                counts[place.axis, column] = count
    whole = np.array([len(group.channels) for group in groups], np.int64)
    return Weight(np.array(list(shape), np.int64) - counts @ whole, counts, positions)


def next_width(width: int, multiple: int) -> int | None:
    """The next smaller multiple; None where not even one would be left."""
    smaller = (width - 1) // multiple * multiple
    return smaller if smaller > 0 else None


Rank = Callable[[Array, int, int], float]
"""``f(widths, group, width)``: of all groups, the one of least rank is cut to that width next."""


def evenly(whole: Array) -> Rank:
    """All groups keep about the same share of their channels.

    Args:
        whole: the widths that shares are of.
    """
    return lambda _, group, width: -width / float(whole[group])


def cheaply(costs: Costs, measure: str, damage: Sequence[Array]) -> Rank:
    """What does the least damage for what it saves goes first.

    Args:
        costs: of the model.
        measure: what is saved.
        damage: for each group, by the number of channels that are cut from it.
    """

    def rank(widths: Array, group: int, width: int) -> float:
        smaller = widths.copy()
        smaller[group] = width
        saved = costs(measure, widths) - costs(measure, smaller)
        whole, done = len(damage[group]) - 1, damage[group]
        return float(done[whole - width] - done[whole - widths[group]]) / max(saved, 1)

    return rank


def narrow(
    costs: Costs, measure: str, most: float, whole: Array, multiple: int, rank: Rank
) -> Array:
    """Widths whose cost is as near to a bound as multiples allow.

    Args:
        costs: of the model.
        measure: one of `MEASURES`.
        most: what the model may cost.
        whole: the width of each group now.
        multiple: that widths are cut to.
        rank: says which group is cut next.
    """
    widths = whole.copy()
    while costs(measure, widths) > most:
        choices = [(g, next_width(int(w), multiple)) for g, w in enumerate(widths)]
        known = [(rank(widths, g, w), g, w) for g, w in choices if w is not None]
        if not known:
            return widths
        _, group, width = min(known)
        widths[group] = width
    return _nearest(costs, measure, most, whole, widths, multiple)


def _nearest(
    costs: Costs, measure: str, most: float, whole: Array, widths: Array, multiple: int
) -> Array:
    """Give back one multiple to some groups, where that brings the cost nearer to the bound."""
    groups = set(range(len(widths)))
    while True:
        wider = {group: _grown(widths, whole, group, multiple) for group in sorted(groups)}
        gaps = {group: abs(costs(measure, found) - most) for group, found in wider.items()}
        best = min(gaps, key=gaps.__getitem__, default=None)
        if best is None or gaps[best] >= abs(costs(measure, widths) - most):
            return widths
        widths = wider[best]
        groups.discard(best)


def _grown(widths: Array, whole: Array, group: int, multiple: int) -> Array:
    grown = widths.copy()
    grown[group] = min(int(whole[group]), (int(widths[group]) // multiple + 1) * multiple)
    return grown
