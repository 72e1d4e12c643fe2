"""Lowrank: factorize layers into smaller ones, by SVD, spatially or Tucker-2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.surgery.decomposition import Site
    from edgepack.surgery.factorization import Array
    from edgepack.surgery.ranks import Choice, Menu


@dataclass(frozen=True)
class Lowrank(TrainingStep):
    """Low-rank factorization (Denton et al. 2014, arXiv:1404.0736), then training of what is left.

    Ranks are multiples of four, since kernels for 8 bits multiply four values at a time and those
    for floats four or eight: a rank between would take up the room of the next.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "clustered", "shared", "binary", "ternary"}
    )

    rank_by: str = setting(
        "ratio",
        "what amount is a share of: energy kept, a layer's parameters, the whole model's MACs",
        choices=("energy", "ratio", "macs"),
    )
    amount: float = setting(0.5, "how much is left", unit="fraction", low=0.01, high=1.0)
    convolution: str = setting(
        "best",
        "how kernels larger than 1 are factorized; best errs least at the same cost",
        choices=("tucker", "spatial", "best"),
    )
    multiple: int = setting(4, "of which ranks are multiples", unit="channels", low=1, high=256)
    iterations: int = setting(
        3, "of orthogonal iteration, after the SVDs of Tucker-2", unit="iterations", low=0, high=100
    )
    skip: str = setting("", "regular expression; layers whose whole name it matches are left alone")

    def check(self) -> None:
        """Refuse an expression that is none."""
        check_expression("lowrank.skip", self.skip)

    def apply(self, model: Any, given: Given) -> Any:
        """The model with layers in several parts, of which the last has the layer's name.

        Raises:
            StepError: if no layer gets smaller, or the budget cannot be met.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.surgery.decomposition import decompose, find_sites

        flat = rebuild(model, copy_layer)
        sites, others = find_sites(flat)
        fates = self._decide(flat, [s for s in sites if not re.fullmatch(self.skip, s.layer.name)])
        self._tell(given, fates, others)
        made = decompose(flat, {fate.name: fate.kernels for fate in fates if fate.kernels})
        if self.epochs:
            self._train(made, given)
        return made

    def _decide(self, model: Any, sites: Sequence[Site]) -> list[_Fate]:
        from edgepack.surgery.factorization import factorize
        from edgepack.surgery.ranks import KINDS, make_menu

        kinds = KINDS if self.convolution == "best" else (self.convolution,)
        menus = [make_menu(site.kernel, site.uses, kinds, self.multiple) for site in sites]
        return [
            _Fate(site, whole=menu.whole, choice=choice, kernels=kernels)
            for site, menu, choice in zip(sites, menus, self._choose(model, menus), strict=True)
            for kernels in [factorize(site.kernel, choice.kind, choice.ranks, self.iterations)]
        ]

    def _choose(self, model: Any, menus: Sequence[Menu]) -> list[Choice]:
        """What becomes of each layer."""
        from edgepack.network.kernels import macs
        from edgepack.surgery.ranks import by_energy, by_macs, by_parameters

        if self.rank_by == "macs":
            whole = macs(model)
            others = whole - sum(menu.whole.macs for menu in menus)
            return by_macs(menus, max(0, int(self.amount * whole) - others))
        choose = by_energy if self.rank_by == "energy" else by_parameters
        return [choose(menu, self.amount) for menu in menus]

    def _tell(self, given: Given, fates: Sequence[_Fate], others: Sequence[str]) -> None:
        """Record what was factorized, and name what is left whole.

        Raises:
            StepError: if that is everything.
        """
        whole = [fate.name for fate in fates if not fate.kernels]
        if not fates:
            raise StepError(
                "the model has no dense layer and no convolution to factorize",
                "leave the step lowrank out, or name fewer layers in lowrank.skip",
            )
        if len(whole) == len(fates):
            raise StepError(
                f"no layer gets smaller with lowrank.rank_by {self.rank_by!r} and lowrank.amount"
                f" {self.amount:g}",
                "set lowrank.amount to less, or lowrank.multiple to 1",
            )
        if whole:
            given.remark(f"left whole, as factors would save too little: {', '.join(whole)}")
        if others:
            given.remark(f"left whole, as no factorization is known: {', '.join(others)}")
        given.record("layers", [fate.facts() for fate in fates if fate.kernels])

    def _train(self, model: Any, given: Given) -> None:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        fit(model, given, self, keep=keepers(kernels(model), given.properties))


@dataclass(frozen=True)
class _Fate:
    """What becomes of a layer; without kernels it is left whole."""

    site: Site
    whole: Choice
    choice: Choice
    kernels: Sequence[Array]

    @property
    def name(self) -> str:
        name: str = self.site.layer.name
        return name

    def facts(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        from edgepack.surgery.factorization import error, full_ranks

        kernel, choice = self.site.kernel, self.choice
        return {
            "layer": self.name,
            "kind": choice.kind,
            "ranks": list(choice.ranks),
            "full_ranks": list(full_ranks(kernel.shape, choice.kind)),
            "parameters_before": self.whole.parameters,
            "parameters": choice.parameters,
            "macs_before": self.whole.macs,
            "macs": choice.macs,
            "relative_error": error(kernel, self.kernels),
        }
