"""Ties layers of equal shape to one set of weights, which all of them then share."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepack.network.graph import Replacement, copy_layer, rebuild

KINDS = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D", "Dense"),
)
"""Layers that can be tied."""

OWN = ("name", "trainable", "dtype")
"""Settings in which tied layers may differ, besides initializers."""


def equal_layers(layers: Sequence[Any], most: int) -> list[list[Any]]:
    """Groups of layers that can be one, in the model's order.

    They are of one kind with the same settings and shapes of weights. Of layers that read the same
    value only one is in a group: they would be the same in all.

    Args:
        layers: of a flat tf_keras model.
        most: layers in a group; 0: any number.
    """
    alike = defaultdict(list)
    for layer in layers:
        if type(layer).__name__ in KINDS:
            alike[_likeness(layer)].append(layer)
    groups = []
    for found in alike.values():
        apart = list({id(layer.get_input_at(0)): layer for layer in reversed(found)}.values())[::-1]
        size = most or len(apart)
        groups += [apart[start : start + size] for start in range(0, len(apart), size)]
    return [group for group in groups if len(group) > 1]


def _likeness(layer: Any) -> str:
    config = layer.get_config()
    told = {k: v for k, v in config.items() if k not in OWN and not k.endswith("_initializer")}
    shapes = [list(weight.shape) for weight in layer.weights]
    return json.dumps([type(layer).__name__, told, shapes], sort_keys=True, default=str)


def tie(model: Any, groups: Sequence[Sequence[Any]], *, mean: bool) -> Any:
    """A copy of a model in which each group of layers is one layer, called after the first.

    Args:
        model: a flat tf_keras model.
        groups: of its layers; see `equal_layers`.
        mean: whether its weights are the mean of the group's, else those of the first.
    """
    leaders = {id(layer): group[0] for group in groups for layer in group}
    starts = {id(group[0]): _start(group, mean) for group in groups}
    made: dict[int, Any] = {}

    def make(layer: Any, name: str) -> Any:
        if id(layer) not in leaders:
            return copy_layer(layer, name)
        leader = leaders[id(layer)]
        if id(leader) in made:
            return Replacement(call=made[id(leader)])
        made[id(leader)] = copy_layer(leader, leader.name)
        return Replacement(layer=made[id(leader)], weights=starts[id(leader)])

    return rebuild(model, make)


def _start(group: Sequence[Any], mean: bool) -> list[Any]:
    weights = [layer.get_weights() for layer in group[: None if mean else 1]]
    return [np.mean(values, axis=0) for values in zip(*weights, strict=True)]
