"""Cuts channels out of a model: narrower layers, and the weights of what is left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from edgepack.network.graph import Replacement, rebuild
from edgepack.surgery.channels import Array, Place
from edgepack.surgery.coupling import Coupling


def cut(model: Any, coupling: Coupling, gone: Collection[int]) -> Any:
    """The model without some channels.

    Args:
        model: a flat functional tf_keras model.
        coupling: its channels.
        gone: numbers of channels of its groups.
    """
    lost = np.array(sorted(gone), np.int64)
    edits: dict[str, list[tuple[Place, Array]]] = {}
    for place, numbers in coupling.places.items():
        kept = ~np.isin(numbers, lost)
        if not kept.all():
            edits.setdefault(place.layer, []).append((place, kept))

    def make(layer: Any, name: str) -> Any:
        return _narrowed(layer, name, edits.get(layer.name, []))

    return rebuild(model, make)


def _narrowed(layer: Any, name: str, edits: Sequence[tuple[Place, Array]]) -> Any:
    """A layer of the same kind with fewer channels."""
    config = {**layer.get_config(), "name": name}
    weights = layer.get_weights()
    told: list[tuple[Place, Array]] = []
    for place, kept in edits:
        if place.kind == "weight":
            position = int(place.key)
            weights[position] = np.compress(kept, weights[position], place.axis)
        elif place.kind == "setting":
            key = str(place.key)
            config[key] = _counted(config[key], place.axis, int(kept.sum()))
        else:
            told.append((place, kept))
    new = type(layer).from_config(config)
    return Replacement(call=_told(new, told) if told else None, layer=new, weights=weights)


def _counted(value: Any, axis: int, count: int) -> Any:
    """A number, or one of several, replaced."""
    if not isinstance(value, list | tuple):
        return count
    numbers = list(value)
    numbers[axis] = count
    return type(value)(numbers)


def _told(layer: Any, edits: Sequence[tuple[Place, Array]]) -> Any:
    """Calls a function with fewer values in its constants, and smaller sizes."""

    def call(*args: Any, **kwargs: Any) -> Any:
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(kwargs)
        for place, kept in edits:
            value = given[place.key]
            if place.kind == "size":
                given[place.key] = _counted(value, place.axis, int(kept.sum()))
            else:
                given[place.key] = np.compress(kept, np.asarray(value), place.axis)
        return layer(*(given[i] for i in range(len(args))), **{k: given[k] for k in kwargs})

    return call
