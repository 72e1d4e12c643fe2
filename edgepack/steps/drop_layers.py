"""Leave whole blocks out of the graph where the model does nearly as well without them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepack.surgery.blocks import Block


@dataclass(frozen=True)
class DropLayers(TrainingStep):
    """Residual blocks, and blocks of a chain that repeat themselves, if they keep the shape.

    One goes after the other, each time the one that matters least in what is left.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"

    epochs: int = setting(4, "of fine-tuning, after the last", unit="epochs", low=0, high=10_000)
    count: int = setting(1, "that go", unit="blocks", low=1, high=1000)
    ratio: float = setting(
        0.0, "of all such blocks that go; 0: as many as count says", unit="fraction", low=0, high=1
    )
    importance: str = setting(
        "change",
        "of a block: how it turns what goes through, or how the loss grows without it",
        choices=("change", "loss"),
    )
    samples: int = setting(
        1024, "that importance is measured on", unit="samples", low=1, high=1_000_000
    )
    skip: str = setting("", "regular expression; layers whose whole name it matches stay")

    def check(self) -> None:
        """Refuse a wrong expression."""
        check_expression("drop_layers.skip", self.skip)

    def needs(self) -> frozenset[str]:
        """Training data, and labels where the loss is looked at."""
        return super().needs() | {"training", *(["labels"] if self.importance == "loss" else [])}

    def apply(self, model: Any, given: Given) -> Any:
        """A shorter model.

        Raises:
            StepError: if it has no block that can be left out.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.surgery.blocks import drop

        model = rebuild(model, copy_layer)
        dropped = []
        for _ in range(self._wanted(model)):
            blocks = self._blocks(model)
            if not blocks:
                given.remark("no other block can be left out")
                break
            scores = self._scores(model, blocks, given)
            least = min(range(len(blocks)), key=scores.__getitem__)
            model = drop(model, [blocks[least]])
            dropped.append({"layers": list(blocks[least].layers), "score": scores[least]})
            given.remark(f"left out, {self.importance} {scores[least]:.2g}: {_ends(blocks[least])}")
        given.record("dropped", dropped)
        self._train(model, given)
        return model

    def _wanted(self, model: Any) -> int:
        found = len(self._blocks(model))
        if not found:
            raise StepError(
                "the model has no block that can be left out: none keeps the shape of what goes"
                " through and repeats itself, or goes around itself",
                "leave the step out, or cut channels with prune_channels",
            )
        return max(1, round(self.ratio * found)) if self.ratio else self.count

    def _blocks(self, model: Any) -> list[Block]:
        from edgepack.surgery.blocks import droppable

        skipped = re.compile(self.skip).fullmatch
        return [block for block in droppable(model) if not any(map(skipped, block.layers))]

    def _scores(self, model: Any, blocks: Sequence[Block], given: Given) -> list[float]:
        from edgepack.training.block_scores import changes, growths
        from edgepack.training.loop import batches_of
        from edgepack.training.trials import UNLABELLED, held_out_samples, training_samples

        if self.importance == "change":
            samples = training_samples(model, given, self, UNLABELLED, self.samples)
            return changes(model, blocks, samples)
        objective = batches_of(model, given, self).objective
        held = held_out_samples(model, given, self, objective, self.samples)
        return growths(model, blocks, objective, held)

    def _train(self, model: Any, given: Given) -> None:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        if self.epochs:
            fit(model, given, self, keep=keepers(kernels(model), given.properties))


def _ends(block: Block) -> str:
    first, last = block.layers[0], block.layers[-1]
    return first if first == last else f"{first} to {last}"
