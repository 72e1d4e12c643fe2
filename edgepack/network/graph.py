"""Rebuilds functional and Sequential models of either Keras as flat tf_keras models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.network.walk import dtype, is_graph, operations, output_names, producer, walk


@dataclass(frozen=True)
class Replacement:
    """What takes the place of a layer, where a plain tf_keras layer does not say it all.

    Attributes:
        call: applied to the mapped arguments of each call of the layer; None: the layer itself.
        layer: the tf_keras layer that takes weights; None where there are none to take.
        weights: what it takes; None: the weights of the layer that it replaces.
        further: more layers that ``call`` applies, each with the weights that it takes.
    """

    call: Callable[..., Any] | None = None
    layer: Any = None
    weights: Sequence[Any] | None = None
    further: Sequence[tuple[Any, Sequence[Any]]] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for one call."""
        return (self.call or self.layer)(*args, **kwargs)


MakeLayer = Callable[[Any, str], Any]
"""Given a layer (or a Keras 3 operation) and a unique name: a tf_keras layer or a `Replacement`."""


@dataclass(frozen=True)
class Visit:
    """One call of one layer: who was called, under which name, and what came out, flat."""

    layer: Any
    name: str
    outputs: list[Any]


@dataclass(frozen=True)
class Rebuilt:
    """A rebuilt model, with what became of each call of the original, in order."""

    model: Any
    visits: list[Visit]


def rebuild(
    model: Any, make_layer: MakeLayer, *, batch_size: int | None = None, name: str | None = None
) -> Any:
    """Build a model anew as one flat tf_keras functional model.

    Shared layers stay shared, nested models are inlined (a layer whose name is taken gets its
    model's name in front), inputs and outputs become flat lists that keep their names and order.

    Args:
        model: functional or Sequential, of either Keras.
        make_layer: called once for each distinct layer.
        batch_size: fixes the first dimension of all inputs; None leaves it as it is.
        name: of the new model; None: the old one's.

    Raises:
        ModelError: if the model has no graph of layers to walk.
    """
    return rebuild_traced(model, make_layer, batch_size=batch_size, name=name).model


def rebuild_traced(
    model: Any, make_layer: MakeLayer, *, batch_size: int | None = None, name: str | None = None
) -> Rebuilt:
    """As `rebuild`, and tells what became of each call."""
    refuse_without_graph(model)
    builder = _Builder(make_layer, _Names(model))
    inputs = [_new_input(t, batch_size) for t in model.inputs]
    outputs = walk(model, inputs, builder.apply)
    used = {producer(t).name for visit in builder.visits for t in visit.outputs}
    named = [_named(t, n, used) for t, n in zip(outputs, output_names(model), strict=True)]
    new = keras.tf_keras().Model(inputs, named, name=name or model.name)
    builder.copy_weights()
    return Rebuilt(new, builder.visits)


def copy_layer(layer: Any, name: str) -> Any:
    """A `MakeLayer` for tf_keras models: the same layer under the given name, its weights new."""
    return type(layer).from_config({**layer.get_config(), "name": name})


def refuse_without_graph(model: Any) -> None:
    """Raise a ModelError for a subclassed model, or one that was never built."""
    kind = type(model).__name__
    if not is_graph(model):
        raise ModelError(
            f"the model {model.name!r} is of the subclass {kind}, which has no graph of layers",
            "rebuild it with the functional API: keras.Model(inputs, outputs), where the outputs"
            " are made by calling its layers on keras.Input tensors",
        )
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"the {kind} model {model.name!r} has no input shape",
            "put an Input layer in front: keras.Sequential([keras.Input(shape), ...])",
        )


@dataclass
class _Names:
    """Gives each layer of a flat model a name of its own."""

    model: Any
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.own = {getattr(o, "name", "") for o in operations(self.model)}
        self.wanted = _names_of_output_layers(self.model)
        self.taken = {producer(t).name for t in self.model.inputs}

    def give(self, layer: Any, outer: str) -> str:
        """An unused name: the layer's own, else with its nested model's name in front."""
        own: str = layer.name
        name = self.wanted.get(id(layer), own)
        reserved = self.own | set(self.wanted.values()) if outer and name == own else set()
        if name in self.taken | reserved:
            name = f"{outer}_{own}" if outer else own
        count, base = 1, name
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name


@dataclass
class _Builder:
    """The state of one rebuild: which layer became what."""

    make_layer: MakeLayer
    names: _Names
    made: dict[int, Any] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)
    sources: list[Any] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    def apply(self, layer: Any, outer: str, args: Any, kwargs: Any) -> Any:
        """Make the layer at its first call, and call it on the new tensors."""
        if id(layer) not in self.made:
            self.named[id(layer)] = name = self.names.give(layer, outer)
            self.made[id(layer)] = self.make_layer(layer, name)
            self.sources.append(layer)
        outputs = self.made[id(layer)](*args, **kwargs)
        flat = keras.tensorflow().nest.flatten(outputs)
        self.visits.append(Visit(layer, self.named[id(layer)], flat))
        return outputs

    def copy_weights(self) -> None:
        """Hand each new layer the weights it is to have."""
        for source in self.sources:
            made = self.made[id(source)]
            if not isinstance(made, Replacement):
                made = Replacement(layer=made)
            for layer, weights in made.further:
                layer.set_weights(list(weights))
            if made.layer is None or not made.layer.weights:
                continue
            weights = source.get_weights() if made.weights is None else made.weights
            made.layer.set_weights(list(weights))


def _names_of_output_layers(model: Any) -> dict[int, str]:
    """The layers, maybe inside nested models, that must bear the names of the outputs."""
    wanted: dict[int, str] = {}
    for tensor, name in zip(model.outputs, output_names(model), strict=True):
        layer = producer(tensor)
        while is_graph(layer):
            tensor = layer.outputs[tensor._keras_history[2]]
            layer = producer(tensor)
        if name not in wanted.values() and not any(t is tensor for t in model.inputs):
            wanted.setdefault(id(layer), name)
    return wanted


def _new_input(tensor: Any, batch_size: int | None) -> Any:
    shape = tuple(tensor.shape)
    if batch_size is not None:
        shape = (batch_size, *shape[1:])
    name = producer(tensor).name
    return keras.tf_keras().Input(batch_shape=shape, dtype=dtype(tensor), name=name)


def _named(tensor: Any, name: str, used: set[str]) -> Any:
    """An output under its wanted name; where its layer could not bear it, by a linear layer."""
    if producer(tensor).name == name or name in used:
        return tensor
    used.add(name)
    return keras.tf_keras().layers.Activation("linear", name=name, dtype=tensor.dtype)(tensor)
