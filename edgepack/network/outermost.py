"""Finds the layers with kernels that inputs meet first and outputs come from last."""

from __future__ import annotations

from typing import Any

from edgepack import keras
from edgepack.network.kernels import kernels
from edgepack.network.walk import walk

Origins = frozenset[str]
"""The layers with kernels that a value comes straight from; the empty name stands for an input."""


def outermost(model: Any) -> set[str]:
    """The names of the layers with kernels that none lies before, or that none lies behind.

    Args:
        model: a flat tf_keras model.
    """
    nest = keras.tensorflow().nest
    multiplied = {id(kernel.variable) for kernel in kernels(model)}
    first: set[str] = set()

    def apply(layer: Any, outer: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
        values = [x for x in nest.flatten((args, kwargs)) if isinstance(x, frozenset)]
        origins: Origins = frozenset().union(*values)
        if any(id(weight) in multiplied for weight in layer.weights):
            first.update({layer.name} if "" in origins else ())
            origins = frozenset({layer.name})
        count = len(nest.flatten(layer.get_output_at(0)))
        return [origins] * count if count > 1 else origins

    outputs = walk(model, [frozenset({""}) for _ in model.inputs], apply)
    return (first | set().union(*outputs)) - {""}
