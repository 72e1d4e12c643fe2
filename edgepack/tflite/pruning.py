"""Prunes a float .tflite at once: the weights of least magnitude become zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import StepError
from edgepack.tflite.counting import Place
from edgepack.tflite.editing import edit_weights
from edgepack.tflite.weight_layout import LAYOUTS
from edgepack.training import masks, patterns

PRUNABLE = frozenset(LAYOUTS) - {"DEPTHWISE_CONV_2D", "SVDF"}
"""Operators that are pruned. Depthwise kernels are left alone, as by TF-MOT for Keras models: they
hold few weights, each of which a whole channel depends on, so that one setting means the same for
both forms."""

IN_ROWS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
"""Operators that patterns along the input channels are for."""


def everything(layer: str) -> bool:  # noqa: ARG001
    """Chooses all layers."""
    return True


def prune(
    data: bytes,
    sparsity: float,
    *,
    pattern: str = "unstructured",
    block: int = 4,
    chosen: Callable[[str], bool] = everything,
) -> bytes:
    """A float .tflite with zeros in each layer that can be pruned so; zeros that are there stay.

    Args:
        data: the flatbuffer.
        sparsity: the fraction of zeros in each layer; 2:4 has its own.
        pattern: one of `edgepack.training.patterns.PATTERNS`.
        block: inputs in a row that are zero together, for ``block``.
        chosen: told a layer's name, whether to prune it.

    Raises:
        StepError: if no layer can be pruned so.
        ModelError: if the flatbuffer is broken, or stores a weight sparsely.
    """
    done: list[str] = []

    def change(place: Place, values: NDArray[Any]) -> NDArray[Any] | None:
        if not _fits(place, pattern) or not chosen(place.layer):
            return None
        done.append(place.name)
        # Not a product, which would leave half of the zeros negative, and other bytes.
        pruned: NDArray[Any] = np.where(
            masks.kept(np.abs(values), pattern, sparsity, block), values, values.dtype.type(0)
        )
        return pruned

    made = edit_weights(data, change)
    if not done:
        raise StepError(
            f"the model has no layer to prune with the pattern {pattern}",
            "set prune.pattern to unstructured, or leave the step out",
        )
    return made


def _fits(place: Place, pattern: str) -> bool:
    code = place.operator.code
    if pattern == "unstructured":
        return code in PRUNABLE
    if pattern == "block":
        return code == "FULLY_CONNECTED"
    return code in IN_ROWS and patterns.fits(place.tensor.shape[-1], pattern)
