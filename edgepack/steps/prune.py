"""Prune: set the weights that matter least to zero, while training goes on or at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, setting
from edgepack.training import patterns
from edgepack.training.rungs import MASK_UPDATES, Rung
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel
    from edgepack.training.objective import Objective

PRUNABLE = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "Dense"),
    *("SeparableConv1D", "SeparableConv2D", "LSTM", "GRU", "SimpleRNN", "Embedding"),
)
"""Layers that TF-MOT prunes; of a separable one the pointwise kernel. Depthwise ones it leaves."""

IN_ROWS = ("Conv1D", "Conv2D", "Dense")
"""Layers that patterns along the input channels are for; of TF-MOT's own, 2:4 leaves Conv1D."""

TFMOT = {
    "criterion": ("magnitude",),
    "schedule": ("polynomial", "constant"),
    "pattern": ("unstructured", "2:4", "block"),
}
"""What TF-MOT does; all else is done here."""


@dataclass(frozen=True)
class Prune(TrainingStep):
    """By magnitude as TF-MOT does (Zhu and Gupta 2017, arXiv:1710.01878), movement, or Taylor.

    A .tflite is pruned at once, with the zeros that TF-MOT would choose.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras", "tflite"})
    adds: ClassVar[frozenset[str]] = frozenset({"sparse"})
    breaks: ClassVar[frozenset[str]] = frozenset({"clustered", "shared", "binary", "ternary"})

    sparsity: float = setting(
        0.8, "zeros in each pruned layer", unit="fraction", low=0.1, high=0.999
    )
    criterion: str = setting(
        "magnitude",
        "which weights matter: large ones, ones that training moves away from zero, or ones that"
        " the loss would change without",
        choices=("magnitude", "movement", "taylor"),
    )
    schedule: str = setting(
        "polynomial", "how zeros grow", choices=("polynomial", "constant", "iterative")
    )
    rounds: int = setting(3, "of iterative: prune, train on, prune further", low=2, high=50)
    pattern: str = setting(
        "unstructured",
        "where zeros may lie; 2:4 halves; 1x4 and 1x16 are blocks of input channels of dense"
        " layers and convolutions, block those of dense layers alone",
        choices=patterns.PATTERNS,
    )
    block: int = setting(
        4, "inputs in a row that are zero together", unit="weights", low=2, high=64
    )
    start: float = setting(
        0.0, "of the training, where pruning starts", unit="fraction", low=0, high=1
    )
    end: float = setting(0.6, "of the training, where pruning ends", unit="fraction", low=0, high=1)
    skip: str = setting("", "regular expression; layers whose whole name it matches are left alone")

    def needs(self) -> frozenset[str]:
        """Labelled training data, also where only gradients are looked at."""
        looks = self.criterion != "magnitude"
        return super().needs() | frozenset({"training", "labels"} if looks else ())

    def check(self) -> None:
        """Refuse a schedule that ends before it starts or never trains, and no expressions."""
        if self.end <= self.start:
            raise RecipeError(
                f"prune.end is {self.end}, not after prune.start, which is {self.start}",
                "set prune.start to 0",
            )
        for key, word, instead in (
            ("schedule", "iterative", "prune.schedule=constant"),
            ("criterion", "movement", "prune.criterion=taylor"),
        ):
            if getattr(self, key) == word and self.epochs == 0:
                raise RecipeError(
                    f"prune.{key} is {word}, but prune.epochs is 0: nothing is trained",
                    f"set prune.epochs to 1 or more, or {instead}",
                )
        check_expression("prune.skip", self.skip)

    def check_form(self, form: str) -> None:
        """Refuse to train, or to take gradients of, what has no variables."""
        super().check_form(form)
        if form == "tflite" and self.criterion != "magnitude":
            raise RecipeError(
                f"prune.criterion is {self.criterion}, but a .tflite as it is has no gradients",
                "type --set prune.criterion=magnitude, or take a recipe that trains",
            )

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with zeros.

        Raises:
            StepError: if it has no layer that can be pruned so.
        """
        if isinstance(model, bytes):
            return self._prune_flatbuffer(model)
        if any(getattr(self, key) not in words for key, words in TFMOT.items()):
            return self._mask(model, given)
        from edgepack import keras

        objective = self._objective(model, given)
        wrapped = self._wrap(model, given)
        if objective:
            self._train(wrapped, given, objective)
        else:
            _prune_at_once(wrapped)
        return keras.tfmot().sparsity.keras.strip_pruning(wrapped)

    def _mask(self, model: Any, given: Given) -> Any:
        """Prune with masks of our own, which are chosen inside the training."""
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import kernels
        from edgepack.training.importance import look, scores_of
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit
        from edgepack.training.masking import Pattern, masking

        flat = rebuild(model, copy_layer)
        chosen = [kernel for kernel in kernels(flat) if self._has_room(kernel)]
        if not chosen:
            raise self._nothing()
        scores = scores_of(self.criterion, [kernel.variable for kernel in chosen])
        masked = masking(chosen, scores, Pattern(self.pattern, self.block), self._rungs(given))
        if self.epochs:
            keep = [*keepers(kernels(flat), given.properties), masked.keep]
            fit(flat, given, self, keep=keep, watch=scores.watch, state=masked.state)
        elif self.criterion != "magnitude":
            look(flat, given, self, scores)
        masked.finish(self.sparsity)
        return flat

    def _rungs(self, given: Given) -> Sequence[Rung]:
        from edgepack.training.rungs import rungs

        return rungs(
            self.schedule,
            self._steps(given),
            start=self.start,
            end=self.end,
            sparsity=self.sparsity,
            rounds=self.rounds,
        )

    def _has_room(self, kernel: Kernel) -> bool:
        """Whether a kernel is pruned with masks of our own."""
        kind = type(kernel.layer).__name__
        depthwise = kernel.word == "depthwise_kernel"
        if depthwise or kind not in PRUNABLE or re.fullmatch(self.skip, kernel.layer.name):
            return False
        if self.pattern == "unstructured":
            return True
        if self.pattern == "block":
            return kind == "Dense"
        return kind in IN_ROWS and patterns.fits(kernel.variable.shape[-2], self.pattern)

    def _nothing(self) -> StepError:
        return StepError(
            f"the model has no layer to prune with the pattern {self.pattern}",
            "set prune.pattern to unstructured, or leave the step out",
        )

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
            raise self._nothing()
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
