"""Finds the groups of channels that can be cut from a model, from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.walk import calls
from edgepack.surgery.channel_functions import function_rule
from edgepack.surgery.channel_rules import rule_of
from edgepack.surgery.channels import (
    FIXED,
    Array,
    Call,
    Flow,
    Links,
    Place,
    Rule,
    UnclearError,
    fixed,
)


@dataclass(frozen=True)
class Group:
    """Channels of which each can be cut alone, and that are all found in the same places.

    Attributes:
        channels: their numbers.
        counts: how often each of them is found in a place.
        layers: those that give them.
    """

    channels: Array
    counts: dict[Place, int]
    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The layers that give them."""
        return "+".join(self.layers)


@dataclass(frozen=True)
class Coupling:
    """The channels of a flat model.

    Attributes:
        places: for each place the number of each of its channels; equal ones go together.
        born: the places of kernels that give channels.
        groups: what can be cut, in the order of the graph.
        stuck: layers that keep channels from being cut, which could be cut but for them.
        read: tensors that kernels read, with the channel of each value along the last axis.
    """

    places: dict[Place, Array]
    born: frozenset[Place]
    groups: tuple[Group, ...]
    stuck: tuple[Any, ...]
    read: tuple[tuple[Any, Array], ...]


@dataclass
class _Trace:
    """The state while calls are followed."""

    links: Links = field(default_factory=Links)
    flows: dict[int, Flow] = field(default_factory=dict)
    read: dict[int, tuple[Any, Flow]] = field(default_factory=dict)

    def follow(self, layer: Any, args: Any, kwargs: Any, outputs: Sequence[Any]) -> None:
        """One call: what it does to the channels of its inputs."""
        nest = keras.tensorflow().nest
        tensors = [x for x in nest.flatten((args, kwargs)) if id(x) in self.flows]
        filled = nest.map_structure(lambda x: self.flows.get(id(x), x), (args, dict(kwargs)))
        flows = [self.flows[id(x)] for x in tensors]
        shapes = [tuple(x.shape) for x in outputs]
        made = self._applied(Call(self.links, layer, flows, shapes, *filled), layer)
        self.flows.update((id(x), flow) for x, flow in zip(outputs, made, strict=True))
        if _reads(layer):
            self.read.update((id(x), (x, self.flows[id(x)])) for x in tensors)

    def _applied(self, call: Call, layer: Any) -> list[Flow]:
        rule: Rule | None = rule_of(layer) or function_rule(layer)
        try:
            if rule is None:
                raise UnclearError
            return [rule(call)]
        except UnclearError:
            return self._unknown(call)

    def _unknown(self, call: Call) -> list[Flow]:
        """A layer that nothing is known of lets its channels stay, and is named for it."""
        for flow in call.flows:
            call.stay(flow.numbers)
        if not call.layer.weights and all(flow.is_fixed for flow in call.flows):
            return [fixed(shape) for shape in call.shapes]
        made = [self.links.ties.new(1).reshape((1,) * len(shape)) for shape in call.shapes]
        for numbers in made:
            call.stay(numbers)
        return [Flow(shape, numbers) for shape, numbers in zip(call.shapes, made, strict=True)]


def _reads(layer: Any) -> bool:
    """Whether a layer mixes the channels that it takes."""
    return hasattr(layer, "kernel") or hasattr(layer, "pointwise_kernel")


def find_channels(model: Any) -> Coupling:
    """The channels of a model, and which of them can go.

    Inputs and outputs stay as they are.

    Args:
        model: a flat functional tf_keras model.
    """
    trace = _Trace()
    trace.flows = {id(x): fixed(tuple(x.shape)) for x in model.inputs}
    for layer, args, kwargs, outputs in calls(model):
        trace.follow(layer, args, kwargs, outputs)
    links = trace.links
    for output in model.outputs:
        links.ties.tie(trace.flows[id(output)].numbers, np.array(FIXED))
    stuck = _freeze(links)
    places = {place: links.ties.roots(numbers) for place, numbers in links.places.items()}
    read = tuple(
        (tensor, links.ties.roots(flow.along(-1)))
        for tensor, flow in trace.read.values()
        if flow.axis in (None, len(flow.shape) - 1) and flow.shape[-1] is not None
    )
    return Coupling(places, frozenset(links.born), _groups(places, links.born), stuck, read)


def _freeze(links: Links) -> tuple[Any, ...]:
    """Let stay what layers say; those that alone keep something are named."""
    found = []
    for layer, numbers in links.stuck:
        if links.ties.roots(numbers).any() and layer not in found:
            found.append(layer)
        links.ties.tie(numbers, np.array(FIXED))
    return tuple(found)


def _groups(places: dict[Place, Array], born: set[Place]) -> tuple[Group, ...]:
    """Channels by the places where they are found, and how often."""
    found: dict[int, dict[Place, int]] = {}
    for place, numbers in places.items():
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            found.setdefault(int(number), {})[place] = int(count)
    found.pop(FIXED, None)
    together: dict[Any, list[int]] = {}
    for number, counts in found.items():
        together.setdefault(frozenset(counts.items()), []).append(number)
    groups = [
        Group(np.array(numbers), found[numbers[0]], _layers(found[numbers[0]], born))
        for numbers in together.values()
    ]
    return tuple(sorted(groups, key=lambda group: int(group.channels[0])))


def _layers(counts: dict[Place, int], born: set[Place]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place.layer for place in counts if place in born))
