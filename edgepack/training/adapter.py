"""What adapting a model changes in it: updates of low rank, and values that were trained whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import ModelError

Array = NDArray[Any]


def digest(values: Array) -> str:
    """sha256 of a weight's float32 bytes, which do not depend on how it is shaped."""
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()


@dataclass(frozen=True)
class Update:
    """A low-rank update of a kernel (Hu et al. 2021, arXiv:2106.09685, equation 3).

    The kernel is seen as a matrix: of a convolution ``[window and inputs, outputs]``.

    Attributes:
        a: ``[rows, rank]``.
        b: ``[rank, columns]``.
        scale: what the product is multiplied with.
        mask: a bit for each value, packed: 0 where the kernel is zero and stays so; None: none is.
    """

    a: Array
    b: Array
    scale: float
    mask: Array | None = None

    def apply(self, kernel: Array) -> Array:
        """The kernel with the update in it, the same to the last bit on every machine.

        No library for matrices, each of which adds in an order of its own, takes part.
        """
        product = np.zeros((len(self.a), self.b.shape[1]))
        for column, row in zip(self.a.T.astype(np.float64), self.b.astype(np.float64), strict=True):
            product += column[:, None] * row
        update = (product * self.scale).astype(np.float32).reshape(kernel.shape)
        if self.mask is not None:
            update *= np.unpackbits(self.mask, count=kernel.size).reshape(kernel.shape)
        adapted: Array = kernel + update
        return adapted


@dataclass(frozen=True)
class Piece:
    """One weight of a layer.

    Attributes:
        word: what Keras calls it, such as ``kernel``.
        shape: as Keras has it.
        before: `digest` of the values that it must have.
        after: `digest` of the values that it gets.
        change: an `Update`, the values themselves, or None where it stays.
    """

    word: str
    shape: tuple[int, ...]
    before: str
    after: str
    change: Update | Array | None = None

    def apply(self, values: Array) -> Array:
        """The new values, in the shape of the old ones.

        Raises:
            ModelError: if they are not what they were when the adapter was made.
        """
        new = self.changed(values)
        if digest(new) != self.after:
            raise ModelError(
                f"the adapter makes of a {self.word} of the shape {list(self.shape)} something else"
                " than it tells",
                "do not use it; it was changed after it was made",
            )
        return new

    def changed(self, values: Array) -> Array:
        """The new values, whatever they should be."""
        kernel = values.reshape(self.shape)
        if isinstance(self.change, Update):
            kernel = self.change.apply(kernel)
        elif self.change is not None:
            kernel = self.change.reshape(self.shape)
        return kernel.reshape(values.shape)


@dataclass(frozen=True)
class Layer:
    """A layer's weights, in their order; they are found together."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def before(self) -> tuple[str, ...]:
        """By which the layer is known in a model file."""
        return tuple(piece.before for piece in self.pieces)


@dataclass(frozen=True)
class Adapter:
    """The layers that change."""

    layers: tuple[Layer, ...]

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        changes = [piece.change for layer in self.layers for piece in layer.pieces]
        updates = [c for c in changes if isinstance(c, Update)]
        whole = [c for c in changes if isinstance(c, np.ndarray)]
        return sum(u.a.size + u.b.size for u in updates) + sum(w.size for w in whole)


def piece_of(word: str, values: Array, change: Update | Array | None) -> Piece:
    """What becomes of a weight that has certain values."""
    before = digest(values)
    new = Piece(word, tuple(values.shape), before, before, change)
    return Piece(word, new.shape, before, digest(new.changed(values)), change)


def pack_mask(kernel: Array) -> Array:
    """The mask of what is not zero."""
    return np.packbits(kernel != 0)


@dataclass(frozen=True)
class Group:
    """Weights that lie together in a model file.

    Attributes:
        place: where.
        names: of the weights.
        digests: of their values, each as a set: a file may lay them out in several ways.
    """

    place: str
    names: tuple[str, ...]
    digests: tuple[frozenset[str], ...]


def positions(layer: Layer, group: Group) -> list[int]:
    """Where in a group each weight of a layer is; empty where it is another layer's.

    Where several have the same values, as new normalizations have, names tell, and else the order.
    """
    free = list(range(len(group.names)))
    found = []
    for piece in layer.pieces:
        same = [i for i in free if piece.before in group.digests[i]]
        if not same:
            return []
        named = [i for i in same if group.names[i].startswith(piece.word)]
        found.append((named or same)[0])
        free.remove(found[-1])
    return found


def twins(adapter: Adapter) -> list[str]:
    """Layers that cannot be told apart by their values, but must become different."""
    known: dict[tuple[str, ...], Layer] = {}
    found = []
    for layer in adapter.layers:
        other = known.setdefault(layer.before, layer)
        if [p.after for p in other.pieces] != [p.after for p in layer.pieces]:
            found += [other.name, layer.name]
    return sorted(set(found))
