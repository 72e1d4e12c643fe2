"""Finds the blocks of a model that keep the shape of what goes through, and drops some of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.graph import Replacement, copy_layer, rebuild
from edgepack.network.operations import symbolic
from edgepack.network.walk import calls

ATTACHED = (
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization"),
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Softmax"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise"),
)
"""Layers that belong to the one before them: no block ends between the two."""

LONGEST = 6
"""Of how many pieces, at most, a block that repeats itself is made."""


@dataclass(frozen=True)
class Block:
    """Layers between two values of one shape, through which all that the model computes goes.

    Attributes:
        layers: their names, in the order of their calls.
    """

    layers: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """The calls from one cut to the next; at a cut a single value is all that flows on.

    Attributes:
        layers: that are called.
        entry: the value at its beginning.
        end: the value at its end.
        merges: whether one of its calls takes several values.
    """

    layers: tuple[Any, ...]
    entry: Any
    end: Any
    merges: bool


def droppable(model: Any) -> list[Block]:
    """The blocks that can be left out of a flat tf_keras model, one after the other, none twice.

    Such a block keeps the shape, and either goes around itself, as a residual one does (He et al.
    2016, arXiv:1512.03385), or the same kinds of layers stand directly before or after it.
    """
    pieces = list(_pieces(model))
    times = Counter(layer.name for layer, *_ in calls(model))
    found, i = [], 0
    while i < len(pieces):
        length = next((n for n in range(1, LONGEST + 1) if _fits(pieces, i, i + n)), 0)
        names = tuple(x.name for piece in pieces[i : i + length] for x in piece.layers)
        if length and all(times[name] == 1 for name in names):
            found.append(Block(names))
        i += max(1, length)
    return found


def drop(model: Any, blocks: Sequence[Block]) -> Any:
    """A copy of a flat tf_keras model without some of its blocks; what stays keeps its weights."""
    gone = {name for block in blocks for name in block.layers}
    return rebuild(
        model,
        lambda layer, name: Replacement(call=_pass_on) if name in gone else copy_layer(layer, name),
    )


def shorten(model: Any, depth: float) -> Any:
    """A copy of a flat tf_keras model with fewer of its droppable blocks, evenly spread.

    Args:
        model: the model.
        depth: the share of these blocks that stays; at least one goes.

    Raises:
        StepError: if there are none.
    """
    blocks = droppable(model)
    if not blocks:
        raise StepError(
            "the model has no block that can be left out: none keeps the shape of what goes"
            " through and repeats itself, or goes around itself",
            "set distill.width, or give a student of your own",
        )
    count = min(len(blocks) - 1, round(depth * len(blocks)))
    kept = {math.floor((i + 0.5) * len(blocks) / count) for i in range(count)}
    return drop(model, [block for i, block in enumerate(blocks) if i not in kept])


def _pass_on(*args: Any, **kwargs: Any) -> Any:
    """The first value that comes in; in a block that is left out all are the same."""
    return tensors_in((args, kwargs))[0]


def _fits(pieces: Sequence[_Piece], start: int, stop: int) -> bool:
    inside = pieces[start:stop]
    if stop > len(pieces) or tuple(inside[0].entry.shape) != tuple(inside[-1].end.shape):
        return False
    if not any(layer.weights for piece in inside for layer in piece.layers):
        return False
    length = stop - start
    neighbours = (pieces[max(0, start - length) : start], pieces[stop : stop + length])
    repeats = any(_kinds(inside) == _kinds(others) for others in neighbours)
    return repeats or (length == 1 and inside[0].merges)


def _kinds(pieces: Collection[_Piece]) -> list[str]:
    return [type(layer).__name__ for piece in pieces for layer in piece.layers]


def _pieces(model: Any) -> Iterator[_Piece]:
    """The calls of a model, cut wherever a single value is all that flows on."""
    made = list(calls(model))
    read = [tensors_in((args, kwargs)) for _, args, kwargs, _ in made]
    last = {id(t): i for i, tensors in enumerate(read) for t in tensors}
    last |= {id(t): len(made) for t in model.outputs}
    flowing = {id(t): t for t in model.inputs if id(t) in last}
    entry, layers, merges = _only(flowing), list[Any](), False
    for i, (layer, _, _, outputs) in enumerate(made):
        flowing |= {id(t): t for t in outputs if id(t) in last}
        flowing = {key: t for key, t in flowing.items() if last[key] > i}
        layers.append(layer)
        merges |= len({id(t) for t in read[i]}) > 1
        if len(flowing) == 1 and _ends(_only(flowing), made, read):
            if entry is not None:
                yield _Piece(tuple(layers), entry, _only(flowing), merges)
            entry, layers, merges = _only(flowing), [], False


def _only(flowing: dict[int, Any]) -> Any:
    return next(iter(flowing.values())) if len(flowing) == 1 else None


def _ends(tensor: Any, made: Sequence[Any], read: Sequence[list[Any]]) -> bool:
    """Whether a block may end here: something other than an `ATTACHED` layer reads the value."""
    readers = [
        call[0]
        for call, tensors in zip(made, read, strict=True)
        if any(t is tensor for t in tensors)
    ]
    return any(type(layer).__name__ not in ATTACHED for layer in readers)


def tensors_in(structure: Any) -> list[Any]:
    """The symbolic tensors among the arguments of a call."""
    return [x for x in keras.tensorflow().nest.flatten(structure) if symbolic(x)]
