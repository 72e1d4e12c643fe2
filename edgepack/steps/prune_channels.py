"""Cut whole channels, filters and neurons out of the graph, so that what is left runs as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.surgery.coupling import Coupling
    from edgepack.training.channel_choice import Choice

NEAR = 0.02
"""A fraction is met where it is missed by no more."""


@dataclass(frozen=True)
class PruneChannels(TrainingStep):
    """Channels that depend on one another go together; the least important of them go first.

    Li et al. 2017, arXiv:1608.08710; groups as in Fang et al. 2023, arXiv:2301.12900.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset({"sparse", "clustered", "binary", "ternary"})

    epochs: int = setting(4, "of fine-tuning, in all rounds", unit="epochs", low=0, high=10_000)
    importance: str = setting(
        "l1",
        "what tells that a channel matters",
        choices=("l1", "l2", "bn", "taylor", "activation"),
    )
    amount: float = setting(0.5, "what goes", unit="fraction", low=0.01, high=0.99)
    amount_by: str = setting(
        "macs",
        "what the amount is a fraction of; scan tries each group alone, and counts macs",
        choices=("ratio", "macs", "parameters", "scan"),
    )
    spread: str = setting(
        "uniform",
        "each group loses the same share, or those whose channels matter least for what they cost",
        choices=("uniform", "importance"),
    )
    multiple: int = setting(8, "that widths are cut to", unit="channels", low=1, high=1024)
    iterations: int = setting(1, "rounds of a cut and training", unit="rounds", low=1, high=100)
    drop: float = setting(
        0.0,
        "by which the loss may grow for each group of a scan; 0: whatever the amount takes",
        unit="fraction",
        low=0,
        high=10,
    )
    samples: int = setting(
        1024, "that importance and scan are measured on", unit="samples", low=1, high=1_000_000
    )
    skip: str = setting(
        "", "regular expression; layers whose whole name it matches keep their channels"
    )

    def check(self) -> None:
        """Refuse a budget that nothing spends, rounds without training, and a wrong expression."""
        if self.drop and self.amount_by != "scan":
            raise RecipeError(
                f"prune_channels.drop is {self.drop}, but only a scan has such a budget",
                "set prune_channels.amount_by to scan",
            )
        if self.iterations > max(1, self.epochs):
            raise RecipeError(
                f"prune_channels.iterations is {self.iterations}, more than the"
                f" {self.epochs} epochs of training between them",
                f"set prune_channels.epochs to {self.iterations} or more",
            )
        check_expression("prune_channels.skip", self.skip)

    def needs(self) -> frozenset[str]:
        """Training data where something is measured; labels where that is the loss."""
        if self.importance == "taylor" or self.amount_by == "scan":
            return frozenset({"training", "labels"})
        measured = {"training"} if self.importance == "activation" else set()
        return super().needs() | measured

    def apply(self, model: Any, given: Given) -> Any:
        """A narrower model.

        Raises:
            StepError: if it has no channels that can go.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.surgery.cutting import cut

        before = model = rebuild(model, copy_layer)
        first = choice = self._choice(before, given)
        first.refuse_nothing()
        _name_stuck(first.coupling, given)
        whole = first.costs(first.wish.measure, first.whole)
        for number in range(1, self.iterations + 1):
            choice = choice if number == 1 else self._choice(model, given)
            left = (1 - self.amount) ** (number / self.iterations)
            model = cut(model, choice.coupling, choice.gone(left * whole))
            self._train(model, given, number)
        self._tell(before, model, given)
        return model

    def _choice(self, model: Any, given: Given) -> Choice:
        from edgepack.surgery.coupling import find_channels
        from edgepack.training.channel_choice import Choice, Wish

        coupling, skipped = find_channels(model), re.compile(self.skip).fullmatch
        groups = tuple(x for x in coupling.groups if not any(map(skipped, x.layers)))
        by = "channels" if self.amount_by == "ratio" else self.amount_by
        wish = Wish(self.importance, by, self.spread, self.multiple, self.samples, self.drop)
        return Choice(model, coupling, groups, wish, given, self)

    def _train(self, model: Any, given: Given, number: int) -> None:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        done = self.epochs * (number - 1) // self.iterations
        epochs = self.epochs * number // self.iterations - done
        folder = given.checkpoints and given.checkpoints / f"round-{number}"
        if epochs:
            keep = keepers(kernels(model), given.properties)
            fit(model, replace(given, checkpoints=folder), replace(self, epochs=epochs), keep=keep)

    def _tell(self, before: Any, after: Any, given: Given) -> None:
        """Record what the model had and has, and say where that is not what was asked for."""
        from edgepack.network.kernels import macs, parameters

        counts = {"macs": macs, "parameters": parameters}
        costs = {word: (count(before), count(after)) for word, count in counts.items()}
        given.record("costs", {w: {"before": b, "after": a} for w, (b, a) in costs.items()})
        had, left = _widths(before), _widths(after)
        given.record("channels", {n: {"before": w, "after": left[n]} for n, w in had.items()})
        self._compare(*costs.get(self.amount_by, costs["macs"]), given)

    def _compare(self, had: int, has: int, given: Given) -> None:
        gone, counted = 1 - has / max(had, 1), not self.drop and self.amount_by != "ratio"
        if has == had:
            given.remark("no channel went")
        elif counted and abs(gone - self.amount) > NEAR:
            word = "parameters" if self.amount_by == "parameters" else "MACs"
            given.remark(f"{gone:.1%} of the {word} went, {self.amount:.1%} were asked for")


def _name_stuck(coupling: Coupling, given: Given) -> None:
    from edgepack.training.channel_choice import listed

    names = [f"{layer.name} ({type(layer).__name__})" for layer in coupling.stuck]
    if names:
        given.remark(f"keep the channels that they touch: {listed(names)}")


def _widths(model: Any) -> dict[str, int]:
    """The channels that each layer with a kernel gives."""
    from edgepack.network.kernels import kernels

    found = {}
    for kernel in kernels(model):
        weight = kernel.weight()
        found[kernel.layer.name] = int(weight.values.shape[weight.channel_axis])
    return found
