"""What all steps that train have in common: their settings, and what they need of the data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from edgepack.errors import RecipeError
from edgepack.step import Step, setting


@dataclass(frozen=True)
class TrainingStep(Step):
    """A step that trains; structure that is there stays there, batch by batch."""

    extras: ClassVar[tuple[str, ...]] = ("build",)

    epochs: int = setting(2, "passes over the training data", unit="epochs", low=0, high=10_000)
    learning_rate: float = setting(1e-3, "of Adam", unit="step size", low=0.0, high=1.0)
    decay: str = setting(
        "cosine",
        "how the learning rate falls to the end of the training",
        choices=("cosine", "none"),
    )
    batch_size: int = setting(128, "samples in one step", unit="samples", low=1)
    loss: str = setting("auto", "derived from model and labels, or the name of a tf_keras loss")
    patience: int = setting(
        0, "epochs without a better validation loss before it stops; 0: never", unit="epochs", low=0
    )

    def check_form(self, form: str) -> None:
        """Refuse to train what has no variables."""
        if form == "tflite" and self.epochs:
            name = self.step_name()
            raise RecipeError(
                f"{name}.epochs is {self.epochs}, but a .tflite as it is cannot be trained",
                f"type --set {name}.epochs=0, or take a recipe that trains",
            )

    def needs(self) -> frozenset[str]:
        """Labelled training data."""
        return frozenset({"training", "labels"} if self.epochs else ())


def check_expression(name: str, text: str) -> None:
    """Refuse a setting of this name whose text is no regular expression with a RecipeError."""
    try:
        re.compile(text)
    except re.error as error:
        raise RecipeError(f"{name} is no regular expression: {error}", "such as conv.*") from error
