"""Finds the layer at which something fails that does not say where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgepack import keras
from edgepack.network.kernels import plain

Fails = Callable[[Any], bool]
"""Told a part of a model, whether it fails."""


def find(model: Any, fails: Fails) -> Any:
    """The layer that makes a model fail, inside its wrapper.

    Outputs are added one by one until it fails; then what leads to the last of them is cut off ever
    earlier, by halves, beside the outputs that work together.

    Args:
        model: a flat tf_keras model that fails.
        fails: tries a part, with the same inputs and some of the layers' outputs.
    """

    def part(outputs: Sequence[Any]) -> Any:
        return keras.tf_keras().Model(model.inputs, list(outputs))

    outputs = list(model.outputs)
    count = next((n for n in range(1, len(outputs)) if fails(part(outputs[:n]))), len(outputs))
    works, last = outputs[: count - 1], outputs[count - 1]
    leading = [layer for layer in part([last]).layers if _is_inner(layer)]
    low, high = 0, len(leading) - 1
    while low < high:
        middle = (low + high) // 2
        if fails(part([*works, leading[middle].output])):
            high = middle
        else:
            low = middle + 1
    return plain(leading[low])


def _is_inner(layer: Any) -> bool:
    """Whether it computes a single tensor, which can be an output."""
    single = len(layer._inbound_nodes) == 1 and not isinstance(layer.output, list | tuple)
    return single and type(layer).__name__ != "InputLayer"
