"""Merges an adapter into a float32 .tflite, whose weights are known by their values."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.tflite import counting, editing, flatbytes
from edgepack.tflite.counting import Place
from edgepack.tflite.subgraph import Tensor, graph_of
from edgepack.tflite.weight_layout import LAYOUTS, input_of
from edgepack.training.adapter import Adapter, Group, Piece, digest, positions


def merge(base: Path, adapter: Adapter) -> tuple[bytes, dict[str, list[str]]]:
    """A .tflite with an adapter merged into it.

    A layer is found by the values of its kernel and its bias, which one operator reads: names, and
    in which order dimensions lie, do not matter.

    Args:
        base: the flatbuffer.
        adapter: what changes.

    Returns:
        The flatbuffer, and for each layer of the adapter that is there its weights in the file.

    Raises:
        ModelError: if the flatbuffer is broken.
    """
    model = flatbytes.unpack(flatbytes.load(base))
    changed: dict[tuple[int, int], bytes] = {}
    found = defaultdict[str, list[str]](list)
    places = [place for place in counting.places(graph_of(model)) if _is_float(place.tensor)]
    for place in places:
        tensors = _tensors(place)
        group = _group(place, tensors)
        for layer in adapter.layers:
            at = positions(layer, group)
            for piece, i in zip(layer.pieces if at else (), at, strict=True):
                new = _changed(place.graph.values(tensors[i]), piece)
                changed[place.where, tensors[i].index] = new.astype("<f4").tobytes()
            found[layer.name] += [place.name] if at else []
    editing.write(model, changed)
    return flatbytes.pack(model), {name: names for name, names in found.items() if names}


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype == "float32" and tensor.sparsity is None


def _tensors(place: Place) -> list[Tensor]:
    """The weight, and what else of the operator's constants a layer of Keras has: its bias."""
    others = LAYOUTS[place.operator.code].others
    read = [input_of(place.graph, place.operator, position) for position in others]
    return [place.tensor, *(t for t in read if t and t.is_constant and _is_float(t))]


def _group(place: Place, tensors: list[Tensor]) -> Group:
    values = [place.graph.values(tensor) for tensor in tensors]
    digests = tuple(frozenset(map(digest, _layouts(x))) for x in values)
    return Group(place.name, ("kernel", *("bias" for _ in tensors[1:])), digests)


def _layouts(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """As it lies in the file, and with the first dimension last, as Keras has output channels."""
    return values, np.moveaxis(values, 0, -1)


def _changed(values: NDArray[Any], piece: Piece) -> NDArray[Any]:
    stored, turned = _layouts(values)
    if digest(stored) == piece.before:
        return piece.apply(stored)
    new: NDArray[Any] = np.moveaxis(piece.apply(turned), -1, 0)
    return new
