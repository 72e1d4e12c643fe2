"""Finds the layers that inputs meet first and outputs come from last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack import keras
from edgepack.network.walk import walk

Origins = frozenset[str]
"""The chosen layers that a value comes straight from; the empty name stands for an input."""


def outermost(model: Any, counts: Callable[[Any], bool]) -> set[str]:
    """The names of the layers that no other lies before, or that no other lies behind.

    Args:
        model: a flat tf_keras model.
        counts: whether a layer is one of those that are compared, such as those with kernels.
    """
    nest = keras.tensorflow().nest
    first: set[str] = set()

    def apply(layer: Any, outer: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG001
        values = [x for x in nest.flatten((args, kwargs)) if isinstance(x, frozenset)]
        origins: Origins = frozenset().union(*values)
        if counts(layer):
            first.update({layer.name} if "" in origins else ())
            origins = frozenset({layer.name})
        count = len(nest.flatten(layer.get_output_at(0)))
        return [origins] * count if count > 1 else origins

    outputs = walk(model, [frozenset({""}) for _ in model.inputs], apply)
    return (first | set().union(*outputs)) - {""}
