"""Compares what two tf_keras models compute, where one was made from the other to be the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepack import keras
from edgepack.data.checks import Slot
from edgepack.data.noise import make_noise
from edgepack.errors import StepError
from edgepack.network.walk import inputs_of

TOLERANCE = 1e-4
"""How far outputs may move, relative to the largest."""

SAMPLES = 8


def refuse_change(before: Any, after: Any, seed: int, step: str) -> None:
    """Run both on noise.

    Args:
        before: a tf_keras model.
        after: one with the same inputs and outputs.
        seed: of the noise.
        step: that made the one from the other.

    Raises:
        StepError: if an output differs by more than rounding.
    """
    noise = make_noise([Slot(*x) for x in inputs_of(before)], seed)
    fed: Any = list(noise.calibration(SAMPLES, seed).inputs.values())
    fed = fed if len(fed) > 1 else fed[0]
    nest = keras.tensorflow().nest
    pairs = zip(nest.flatten(before(fed)), nest.flatten(after(fed)), strict=True)
    for name, (a, b) in zip(before.output_names, pairs, strict=True):
        difference = float(np.max(np.abs(a - b)))
        if difference > TOLERANCE * max(1.0, float(np.max(np.abs(a)))):
            raise StepError(
                f"{step} moved output {name} by {difference:.2g}",
                f"leave the step {step} out, and report the model",
            )
