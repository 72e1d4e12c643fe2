"""Prune: set the weights of least magnitude to zero, while training goes on or at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep

if TYPE_CHECKING:
    from edgepack.training.objective import Objective

PRUNABLE = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "Dense"),
    *("SeparableConv1D", "SeparableConv2D", "LSTM", "GRU", "SimpleRNN", "Embedding"),
)
"""Layers that TF-MOT prunes; of a separable one the pointwise kernel. Depthwise ones it leaves."""

MASK_UPDATES = 100
"""How often, at most, a schedule chooses anew what is zero."""


@dataclass(frozen=True)
class Prune(TrainingStep):
    """TF-MOT's pruning by magnitude (Zhu and Gupta 2017, arXiv:1710.01878, equation 1).

    A .tflite is pruned at once, with the zeros that TF-MOT would choose.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras", "tflite"})
    adds: ClassVar[frozenset[str]] = frozenset({"sparse"})
    breaks: ClassVar[frozenset[str]] = frozenset({"clustered"})

    sparsity: float = setting(
        0.8, "zeros in each pruned layer", unit="fraction", low=0.1, high=0.999
    )
    schedule: str = setting("polynomial", "how zeros grow", choices=("polynomial", "constant"))
    pattern: str = setting(
        "unstructured",
        "where zeros may lie; 2:4 halves, block is for dense layers",
        choices=("unstructured", "2:4", "block"),
    )
    block: int = setting(
        4, "inputs in a row that are zero together", unit="weights", low=2, high=64
    )
    start: float = setting(
        0.0, "of the training, where pruning starts", unit="fraction", low=0, high=1
    )
    end: float = setting(0.6, "of the training, where pruning ends", unit="fraction", low=0, high=1)
    skip: str = setting("", "regular expression; layers whose whole name it matches are left alone")

    def check(self) -> None:
        """Refuse a schedule that ends before it starts, and an expression that is none."""
        if self.end <= self.start:
            raise RecipeError(
                f"prune.end is {self.end}, not after prune.start, which is {self.start}",
                "set prune.start to 0",
            )
        try:
            re.compile(self.skip)
        except re.error as error:
            raise RecipeError(
                f"prune.skip is no regular expression: {error}", "such as conv.*"
            ) from error

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with zeros.

        Raises:
            StepError: if it has no layer that can be pruned so.
        """
        if isinstance(model, bytes):
            return self._prune_flatbuffer(model)
        from edgepack import keras

        objective = self._objective(model, given)
        wrapped = self._wrap(model, given)
        if objective:
            self._train(wrapped, given, objective)
        else:
            _prune_at_once(wrapped)
        return keras.tfmot().sparsity.keras.strip_pruning(wrapped)

    def _prune_flatbuffer(self, model: bytes) -> bytes:
        from edgepack.tflite import pruning

        return pruning.prune(
            model,
            self.sparsity,
            pattern=self.pattern,
            block=self.block,
            chosen=lambda layer: not re.fullmatch(self.skip, layer),
        )

    def _objective(self, model: Any, given: Given) -> Objective | None:
        """What the plain model is trained on; the wrapped one has other names for its outputs."""
        if self.epochs == 0 or given.dataset is None:
            return None
        from edgepack.training.objective import derive_loss

        return derive_loss(model, given.dataset, self.loss)

    def _train(self, wrapped: Any, given: Given, objective: Objective) -> None:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        for layer in _pruned_layers(wrapped):
            layer.pruning_step.assign(0)
        keep = keepers(kernels(wrapped), given.properties)
        fit(wrapped, given, self, objective=objective, keep=keep)
        for layer in _pruned_layers(wrapped):
            layer.pruning_obj.weight_mask_op()

    def _wrap(self, model: Any, given: Given) -> Any:
        from edgepack import keras

        prune = keras.tfmot().sparsity.keras.prune_low_magnitude
        options = self._options(given)
        chosen = {id(layer) for layer in model.layers if self._fits(layer)}
        if not chosen:
            raise StepError(
                f"the model has no layer to prune with the pattern {self.pattern}",
                "set prune.pattern to unstructured, or leave the step out",
            )
        return keras.tf_keras().models.clone_model(
            model, clone_function=lambda x: prune(x, **options) if id(x) in chosen else x
        )

    def _fits(self, layer: Any) -> bool:
        kind = type(layer).__name__
        if kind not in PRUNABLE or re.fullmatch(self.skip, layer.name):
            return False
        if self.pattern == "2:4":
            return kind in ("Conv2D", "Dense") and layer.kernel.shape[-2] >= 4
        return kind == "Dense" or self.pattern == "unstructured"

    def _options(self, given: Given) -> dict[str, Any]:
        from edgepack import keras

        schedules = keras.tfmot().sparsity.keras
        steps = self._steps(given)
        begin, every = round(self.start * steps), max(1, steps // MASK_UPDATES)
        # The last update must fall on the end, or the last zeros never come.
        end = begin + max(1, round((self.end - self.start) * steps) // every) * every
        if steps == 0 or self.schedule == "constant":
            schedule = schedules.ConstantSparsity(self.sparsity, max(1, begin), frequency=every)
        else:
            schedule = schedules.PolynomialDecay(0.0, self.sparsity, begin, end, frequency=every)
        options: dict[str, Any] = {"pruning_schedule": schedule}
        if self.pattern == "2:4":
            options["sparsity_m_by_n"] = (2, 4)
        if self.pattern == "block":
            options["block_size"] = (self.block, 1)
        return options

    def _steps(self, given: Given) -> int:
        if given.dataset is None or given.dataset.training is None:
            return 0
        samples = len(given.dataset.training)
        return self.epochs * (samples // min(self.batch_size, samples))


def _prune_at_once(wrapped: Any) -> None:
    for layer in _pruned_layers(wrapped):
        layer.pruning_step.assign(1)
        layer.pruning_obj.conditional_mask_update()
        layer.pruning_obj.weight_mask_op()


def _pruned_layers(wrapped: Any) -> list[Any]:
    return [layer for layer in wrapped.layers if hasattr(layer, "pruning_obj")]
