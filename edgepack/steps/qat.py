"""Quantization-aware training: train with the rounding of int8, zeros and clusters kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep


@dataclass(frozen=True)
class Qat(TrainingStep):
    """TF-MOT's quantization-aware training (Jacob et al. 2018, arXiv:1712.05877, section 3).

    What TF-MOT cannot quantize stays float here, and its ranges are read off samples by the step
    convert. TF-MOT's own schemes lose clusters and zeros (its issues 1056 and 979), so our keepers
    put them back after every batch.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras-qat"

    epochs: int = setting(2, "passes over the training data", unit="epochs", low=1, high=10_000)
    learning_rate: float = setting(1e-4, "of Adam", unit="step size", low=0.0, high=1.0)

    def apply(self, model: Any, given: Given) -> Any:
        """The model with rounding in it, under the same names of inputs and outputs.

        Raises:
            StepError: if TF-MOT can quantize none of its layers, or refuses it.
        """
        from edgepack.network.kernels import kernels
        from edgepack.training import quantization
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit
        from edgepack.training.objective import derive_loss

        objective = derive_loss(model, given.dataset, self.loss) if given.dataset else None
        quantized = quantization.quantize(model, given.properties)
        if bare := quantization.left_float(quantized):
            given.remark(f"trained in floats, as TF-MOT cannot quantize it: {', '.join(bare)}")
        quantization.set_ranges(quantized, given, self.batch_size)
        keep = keepers(kernels(quantized), given.properties)
        fit(quantized, given, self, objective=objective, keep=keep)
        return quantized
