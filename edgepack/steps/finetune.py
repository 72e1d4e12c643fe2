"""Train on, at a small learning rate, with all structure that is there kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep


@dataclass(frozen=True)
class Finetune(TrainingStep):
    """Zeros stay zero, and what shares a value goes on sharing one."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"

    learning_rate: float = setting(1e-4, "of Adam", unit="step size", low=0.0, high=1.0)

    def apply(self, model: Any, given: Given) -> Any:
        """The same model, trained."""
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        fit(model, given, self, keep=keepers(kernels(model), given.properties))
        return model
