"""Adapt: train small updates of low rank beside frozen weights, then merge them, or ship them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.training.adapting import Choice


@dataclass(frozen=True)
class Lora(TrainingStep):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685), of convolutions, too.

    What is zero in a sparse kernel stays zero, in training and in what is merged. Values that are
    shared would not be after an update, so models that share some are refused.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset({"clustered", "shared", "binary", "ternary"})

    epochs: int = setting(2, "passes over the training data", unit="epochs", low=1, high=10_000)
    learning_rate: float = setting(3e-3, "of Adam", unit="step size", low=0.0, high=1.0)
    rank: int = setting(2, "of each update", unit="channels", low=1, high=1024)
    alpha: float = setting(4.0, "over the rank, the factor of each update", unit="factor", low=0.01)
    biases: bool = setting(True, "train biases, too")
    normalization: bool = setting(True, "train factors and offsets of normalization, too")
    head: bool = setting(False, "train the last layers whole, instead of by an update")
    skip: str = setting("", "regular expression; layers whose whole name it matches get no update")
    apart: bool = setting(
        False, "put the adapter into the bundle, too, for edgepack merge BASE ADAPTER"
    )

    def check(self) -> None:
        """Refuse an expression that is none."""
        check_expression("lora.skip", self.skip)

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with the updates merged into its weights.

        Raises:
            StepError: if nothing of it can be adapted.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import parameters
        from edgepack.training import adapter_file, adapting
        from edgepack.training.loop import fit
        from edgepack.training.objective import derive_loss

        flat = rebuild(model, copy_layer)
        choice = self._choice(flat, given)
        made = adapting.attach(flat, choice, given.seed)
        trained, total = adapting.trained_values(made), parameters(flat)
        given.record("trained", {"parameters": trained, "share": trained / total})
        objective = derive_loss(flat, given.dataset, self.loss) if given.dataset else None
        fit(made, given, self, objective=objective)
        adapter = adapting.adapter_of(flat, made, choice)
        adapting.merge(flat, adapter)
        if self.apart:
            given.attach("adapter.npz", adapter_file.dump(adapter))
        return flat

    def _choice(self, model: Any, given: Given) -> Choice:
        from edgepack.network.kernels import kernels
        from edgepack.surgery.narrowing import last_layers
        from edgepack.training import adapting
        from edgepack.training.properties import measure

        head = last_layers(model) if self.head else frozenset()
        found = [k for k in kernels(model) if k.layer.name not in head and self._fits(k)]
        chosen = frozenset(k.layer.name for k in found)
        if not chosen:
            raise StepError(
                f"the model has no layer for which an update of rank {self.rank} pays",
                "set lora.rank to 1, or leave the step out",
            )
        others = {k.layer.name for k in kernels(model)} - chosen - head
        if others:
            given.remark(f"without an update: {', '.join(sorted(others))}")
        sparse = {k.layer.name for k in found if measure([k.weight()])[0].sparse}
        whole = {x.name for x in model.layers if type(x).__name__ in adapting.NORMALIZING}
        return adapting.Choice(
            rank=self.rank,
            scale=self.alpha / self.rank,
            adapted=chosen,
            masked=frozenset(sparse if "sparse" in given.properties else ()),
            whole=head | (frozenset(whole) if self.normalization else frozenset()),
            biases=self.biases,
        )

    def _fits(self, kernel: Any) -> bool:
        from edgepack.training import adapting

        known = type(kernel.layer).__name__ in adapting.ADAPTED
        chosen = known and not re.fullmatch(self.skip, kernel.layer.name)
        return chosen and adapting.pays(kernel.variable, self.rank)
