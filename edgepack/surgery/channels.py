"""Numbers the channels of tensors and weights, and ties those that can only go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FIXED = 0
"""The number of whatever must stay, such as the channels of a model's inputs."""

Shape = tuple[int | None, ...]


class UnclearError(Exception):
    """What a rule raises where it cannot tell which channels become which."""


class Ties:
    """Numbers of channels, of which some stand for the same channel (a union-find)."""

    def __init__(self) -> None:
        self._parents = [FIXED]

    def new(self, count: int) -> Array:
        """Numbers that nothing else has yet."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def tie(self, a: Array, b: Array) -> None:
        """Let channels go together, pair by pair; with `FIXED` they stay."""
        pairs = np.stack([np.ravel(x) for x in np.broadcast_arrays(a, b)], axis=1)
        for one, other in np.unique(pairs, axis=0).tolist():
            first, last = sorted((self._root(one), self._root(other)))
            self._parents[last] = first

    def roots(self, numbers: Array) -> Array:
        """For each number the one that stands for all that it is tied to."""
        each, where = np.unique(numbers, return_inverse=True)
        found = np.array([self._root(n) for n in each.tolist()], np.int64)
        return found[where].reshape(np.shape(numbers))

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


@dataclass(frozen=True)
class Flow:
    """The channels of a tensor.

    Attributes:
        shape: of the tensor, with its batch.
        numbers: of the channel of each value; of size 1 along all axes but one, at most.
    """

    shape: Shape
    numbers: Array

    @property
    def axis(self) -> int | None:
        """The axis along which channels differ; None where there is one channel only."""
        varied = [i for i, n in enumerate(self.numbers.shape) if n > 1]
        return varied[0] if varied else None

    @property
    def is_fixed(self) -> bool:
        """Whether all of it stays whatever is cut."""
        return not self.numbers.any()

    def along(self, axis: int) -> Array:
        """The channels along an axis, one each; UnclearError where they differ along another."""
        axis %= len(self.shape)
        count = self.shape[axis]
        if self.axis not in (None, axis) or count is None:
            raise UnclearError
        return np.broadcast_to(self.numbers.ravel(), (count,))

    def whole(self) -> Array:
        """The channel of every value of a sample; UnclearError where its size is open."""
        if None in self.shape[1:]:
            raise UnclearError
        return np.broadcast_to(self.numbers[0], [int(n or 1) for n in self.shape[1:]])


def fixed(shape: Shape) -> Flow:
    """A tensor of which nothing is cut."""
    return Flow(shape, np.full((1,) * len(shape), FIXED))


def channels_at(shape: Shape, axis: int, numbers: Array) -> Flow:
    """A tensor with channels along one axis."""
    wide = [1] * len(shape)
    wide[axis] = -1
    return Flow(shape, numbers.reshape(wide))


def flow_of(shape: Shape, numbers: Array) -> Flow:
    """A tensor of which each value's channel is known.

    Args:
        shape: with batch.
        numbers: ``shape[1:]``.

    Raises:
        UnclearError: if channels differ along more than one axis.
    """
    for axis in range(numbers.ndim):
        first = np.take(numbers, [0], axis)
        if np.array_equal(np.broadcast_to(first, numbers.shape), numbers):
            numbers = first
    if sum(n > 1 for n in numbers.shape) > 1:
        raise UnclearError
    return Flow(shape, numbers[np.newaxis])


@dataclass(frozen=True)
class Place:
    """Where a layer has a dimension for channels.

    Attributes:
        layer: its name.
        kind: ``weight``, ``setting``, or, of its call, ``constant`` or ``size``. Of a setting and
            of a size, a number counts the channels.
        key: a weight's position, a setting's name, an argument's position or name.
        axis: of the weight or constant; where the number stands in the setting or size.
    """

    layer: str
    kind: str
    key: int | str
    axis: int


@dataclass
class Links:
    """What is known of a model's channels while its calls are followed.

    Attributes:
        ties: between the channels.
        places: the channels of each weight, setting and constant that has some.
        born: the places of kernels that give channels.
        stuck: layers that let nothing be cut, with the channels that they touch.
    """

    ties: Ties = field(default_factory=Ties)
    places: dict[Place, Array] = field(default_factory=dict)
    born: set[Place] = field(default_factory=set)
    stuck: list[tuple[Any, Array]] = field(default_factory=list)


@dataclass
class Call:
    """One call of one layer, for a rule to say what becomes of the channels.

    Attributes:
        links: what the rule adds to.
        layer: of tf_keras.
        flows: of the tensors that it is called on, flat.
        shapes: of its outputs.
        args: what it is called with, flows in the places of tensors.
        kwargs: the same by name.
    """

    links: Links
    layer: Any
    flows: Sequence[Flow]
    shapes: Sequence[Shape]
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def flow(self) -> Flow:
        """What it is called on; UnclearError where that is more than one tensor."""
        if len(self.flows) != 1:
            raise UnclearError
        return self.flows[0]

    @property
    def shape(self) -> Shape:
        """Of its output; UnclearError where there are several."""
        if len(self.shapes) != 1:
            raise UnclearError
        return self.shapes[0]

    def use(self, weight: int, axis: int, numbers: Array) -> None:
        """A dimension of a weight holds these channels, in each call of the layer."""
        self._note(Place(self.layer.name, "weight", weight, axis), numbers)

    def count(self, setting: str, numbers: Array, place: int = 0) -> None:
        """A setting, or the number at a place in it, counts these channels."""
        self._note(Place(self.layer.name, "setting", setting, place), numbers)

    def hold(self, kind: str, argument: int | str, axis: int, numbers: Array) -> None:
        """An argument of the call is a ``constant`` of these channels, or a ``size`` with them."""
        self._note(Place(self.layer.name, kind, argument, axis), numbers)

    def _note(self, place: Place, numbers: Array) -> None:
        known = self.links.places.setdefault(place, numbers)
        if known is not numbers:
            self.links.ties.tie(known, numbers)

    def bear(self, weight: int, axis: int) -> Array:
        """The channels that a kernel gives, the same in each call of its layer."""
        shape = self.layer.weights[weight].shape
        place = Place(self.layer.name, "weight", weight, axis % len(shape))
        self.links.born.add(place)
        if place not in self.links.places:
            self.links.places[place] = self.links.ties.new(int(shape[axis]))
        return self.links.places[place]

    def stay(self, numbers: Array) -> None:
        """Because of this layer, these channels are never cut."""
        self.links.stuck.append((self.layer, np.unique(numbers)))


Rule = Callable[[Call], Flow]
"""Given a call: the channels of its output. It raises UnclearError for what it cannot follow."""


def weight_at(layer: Any, name: str) -> int:
    """The position of a weight in the layer's list."""
    variable = getattr(layer, name)
    return next(i for i, w in enumerate(layer.weights) if w is variable)
