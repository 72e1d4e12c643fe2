"""Chooses the ranks of factorized layers: by energy, by parameters, or under one budget for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, prod

from edgepack.errors import StepError
from edgepack.surgery.factorization import (
    Array,
    Shape,
    owners,
    split_energy,
    split_shapes,
    tucker_energy,
    tucker_shapes,
)

KINDS = ("spatial", "tucker")
"""Ways to factorize a kernel with a window; one without goes by SVD."""

MOST_RANKS = 64
"""Of one dimension that are looked at; larger layers have them further apart."""


@dataclass(frozen=True)
class Use:
    """One call of a layer: the positions, without batch and channels, that it reads and writes."""

    inputs: Shape
    outputs: Shape


@dataclass(frozen=True)
class Choice:
    """One way to factorize a layer, or to leave it whole.

    Attributes:
        kind: ``svd``, ``spatial`` or ``tucker``; empty for the whole layer.
        ranks: one for the first two, of inputs and outputs for the last.
        parameters: of all kernels; the bias stays as it is.
        macs: of one sample.
        error: the share of squared singular values that is lost.
    """

    kind: str
    ranks: Shape
    parameters: int
    macs: int
    error: float


@dataclass(frozen=True)
class Menu:
    """A layer's choices.

    Attributes:
        whole: the layer as it is.
        smaller: those with fewer parameters and fewer multiply-accumulates.
    """

    whole: Choice
    smaller: tuple[Choice, ...]

    @property
    def all(self) -> tuple[Choice, ...]:
        """The whole layer first."""
        return (self.whole, *self.smaller)


def make_menu(kernel: Array, uses: Sequence[Use], kinds: Sequence[str], multiple: int) -> Menu:
    """What can become of a kernel.

    Args:
        kernel: ``[*window, inputs, outputs]``.
        uses: where it is applied.
        kinds: some of `KINDS`.
        multiple: all ranks are multiples of it, or all channels there are.
    """
    whole = _choice("", (), [kernel.shape], uses, 1.0)
    found = _choices(kernel, uses, kinds, multiple)
    pays = (c for c in found if c.parameters < whole.parameters and c.macs < whole.macs)
    return Menu(whole, tuple(pays))


def _choices(
    kernel: Array, uses: Sequence[Use], kinds: Sequence[str], multiple: int
) -> Iterator[Choice]:
    plain = set(kernel.shape[:-2]) <= {1}
    if plain or "spatial" in kinds:
        kept = split_energy(kernel)
        for rank in _ranks(len(kept), multiple):
            shapes = split_shapes(kernel.shape, rank)
            kind = "svd" if plain else "spatial"
            yield _choice(kind, (rank,), shapes, uses, kept[rank - 1])
    if not plain and "tucker" in kinds:
        kept = tucker_energy(kernel)
        for a, b in product(*(_ranks(n, multiple) for n in kernel.shape[-2:])):
            shapes = tucker_shapes(kernel.shape, (a, b))
            yield _choice("tucker", (a, b), shapes, uses, kept[a - 1, b - 1])


def _ranks(full: int, multiple: int) -> list[int]:
    apart = multiple * ceil(full / multiple / MOST_RANKS)
    return [*range(apart, full, apart), full]


def _choice(
    kind: str, ranks: Shape, shapes: Sequence[Shape], uses: Sequence[Use], kept: float
) -> Choice:
    parameters = sum(prod(shape) for shape in shapes)
    return Choice(kind, ranks, parameters, _macs(shapes, uses), 1.0 - float(kept))


def _macs(shapes: Sequence[Shape], uses: Sequence[Use]) -> int:
    """A kernel before the one that takes a dimension's stride computes at all inputs along it."""
    owner = owners([shape[:-2] for shape in shapes])
    return sum(
        prod(shape) * prod(ins if i < takes else outs for ins, outs, takes in _along(use, owner))
        for use in uses
        for i, shape in enumerate(shapes)
    )


def _along(use: Use, owner: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Inputs, outputs and owner of each dimension; those of a dense layer have no window."""
    taken = [*owner, *[0] * (len(use.outputs) - len(owner))]
    return zip(use.inputs, use.outputs, taken, strict=True)


def by_energy(menu: Menu, amount: float) -> Choice:
    """The fewest parameters that keep a share of the squared singular values."""
    enough = [c for c in menu.smaller if 1 - c.error >= amount]
    return min(enough, key=lambda c: (c.parameters, c.macs), default=menu.whole)


def by_parameters(menu: Menu, amount: float) -> Choice:
    """The least error with a share of the layer's parameters."""
    small = [c for c in menu.smaller if c.parameters <= amount * menu.whole.parameters]
    return min(small, key=lambda c: (c.error, c.parameters), default=menu.whole)


def by_macs(menus: Sequence[Menu], budget: int) -> list[Choice]:
    """The choices of all layers whose errors have the least sum within a budget.

    Layers go down their convex hulls, always the one that loses least for each multiply-accumulate
    that it saves, which is the Lagrangian's path; what is then left of the budget is spent on what
    lowers the error most.

    Args:
        menus: of the layers.
        budget: multiply-accumulates for all of them.

    Raises:
        StepError: if the least that these layers can do with is more.
    """
    least = sum(min(c.macs for c in menu.all) for menu in menus)
    if least > budget:
        raise StepError(
            f"the layers need {least:,} multiply-accumulates at the least, and {budget:,} are left",
            "give a larger lowrank.amount",
        )
    chosen = [menu.whole for menu in menus]
    hulls = [_hull(menu) for menu in menus]
    moves = [(_slope(a, b), i, b) for i, h in enumerate(hulls) for a, b in pairwise(h)]
    for _, i, choice in sorted(moves, key=lambda move: move[:2]):
        if sum(c.macs for c in chosen) <= budget:
            break
        chosen[i] = choice
    return _spend(menus, chosen, budget)


def _slope(before: Choice, after: Choice) -> float:
    """What is lost for each multiply-accumulate that is saved."""
    return (after.error - before.error) / (before.macs - after.macs)


def _hull(menu: Menu) -> list[Choice]:
    """From the whole layer down, the choices that are best for some price of a MAC."""
    hull = [menu.whole]
    while rest := [c for c in menu.smaller if c.macs < hull[-1].macs]:
        at = hull[-1]
        hull.append(min(rest, key=lambda c: (_slope(at, c), c.macs)))
    return hull


def _spend(menus: Sequence[Menu], chosen: list[Choice], budget: int) -> list[Choice]:
    """Give single layers back what the budget still allows, the one that gains most first."""
    chosen = list(chosen)
    while True:
        left = budget - sum(c.macs for c in chosen)
        better = [
            (c.error - now.error, i, c)
            for i, (menu, now) in enumerate(zip(menus, chosen, strict=True))
            for c in menu.all
            if c.error < now.error and c.macs <= now.macs + left
        ]
        if not better:
            return chosen
        _, i, choice = min(better, key=lambda gain: (gain[0], gain[1], gain[2].macs))
        chosen[i] = choice
