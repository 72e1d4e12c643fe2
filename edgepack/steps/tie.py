"""Tie: let layers of equal settings and shapes have one set of weights, and train on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression


@dataclass(frozen=True)
class Tie(TrainingStep):
    """Parameters shared across layers (Lan et al. 2020, arXiv:1909.11942, section 3.1)."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset({"sparse", "binary", "ternary", "clustered"})

    epochs: int = setting(4, "passes over the training data", unit="epochs", low=0, high=10_000)
    layers: str = setting(".*", "regular expression; layers whose whole name it matches are taken")
    together: int = setting(
        0, "layers that one set of weights serves; 0: all that fit", unit="layers", low=0, high=1000
    )
    start: str = setting(
        "mean",
        "what a group's weights start from: their mean, or the first",
        choices=("mean", "first"),
    )
    ends: bool = setting(False, "the first and the last layers, too")

    def check(self) -> None:
        """Refuse an expression that is none, and a group of one."""
        check_expression("tie.layers", self.layers)
        if self.together == 1:
            raise RecipeError("tie.together is 1, which ties nothing", "set it to 0, or to 2")

    def apply(self, model: Any, given: Given) -> Any:
        """The model with fewer weights.

        Raises:
            StepError: if no two layers can be one.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import kernels, parameters
        from edgepack.surgery.tying import equal_layers, tie
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        flat = rebuild(model, copy_layer)
        groups = equal_layers(self._chosen(flat, given), self.together)
        if not groups:
            raise StepError(
                "no two layers of the model have equal settings and shapes and different inputs",
                "set tie.ends to true, or leave the step out",
            )
        made = tie(flat, groups, mean=self.start == "mean")
        names = [[layer.name for layer in group] for group in groups]
        given.record("tied", names)
        told = "; ".join(", ".join(group) for group in names)
        given.remark(
            f"tied, which saves {parameters(flat) - parameters(made):,} parameters: {told}"
        )
        if self.epochs:
            fit(made, given, self, keep=keepers(kernels(made), given.properties))
        return made

    def _chosen(self, model: Any, given: Given) -> list[Any]:
        """The layers that are chosen and that no normalization tells apart again."""
        from edgepack.network.folding import foldable
        from edgepack.network.outermost import outermost

        outer = set() if self.ends else outermost(model)
        chosen = [
            layer
            for layer in model.layers
            if re.fullmatch(self.layers, layer.name) and layer.name not in outer
        ]
        normalized = {id(layer) for layer, _ in foldable(model)}
        left = [layer.name for layer in chosen if id(layer) in normalized]
        if left:
            given.remark(
                "not tied, as each normalization would be folded into a copy of its own, unless the"
                f" step fold goes before: {', '.join(left)}"
            )
        return [layer for layer in chosen if id(layer) not in normalized]
