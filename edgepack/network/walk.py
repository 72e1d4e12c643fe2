"""Walks functional and Sequential models of either Keras, call by call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgepack import keras

Signature = list[tuple[str, tuple[int | None, ...], str]]
"""Name, shape with None where it is open, and dtype of each input or output."""


def is_keras3(thing: Any) -> bool:
    """Whether a model or layer is of Keras 3; imports nothing to tell."""
    return any(c.__module__.split(".")[0] == "keras" for c in type(thing).__mro__)


def is_sequential(layer: Any) -> bool:
    """Whether this is a Sequential model, of either version."""
    return any(c.__name__ == "Sequential" for c in type(layer).__mro__)


def is_graph(layer: Any) -> bool:
    """Whether this is a model whose calls can be walked: functional, or Sequential."""
    return is_sequential(layer) or hasattr(layer, "_nodes_by_depth")


def inputs_of(model: Any) -> Signature:
    """Name, shape and dtype of each input of a model, in its flat order; names are unique."""
    return [(producer(t).name, tuple(t.shape), dtype(t)) for t in model.inputs]


def outputs_of(model: Any) -> Signature:
    """Name, shape and dtype of each output of a flat tf_keras model; names are unique.

    Where one layer gives several outputs, tf_keras numbers its name: ``d``, ``d_1``.
    """
    named = zip(model.output_names, model.outputs, strict=True)
    return [(name, tuple(t.shape), dtype(t)) for name, t in named]


def walk(
    model: Any, inputs: Sequence[Any], apply: Callable[..., Any], outer: str = ""
) -> list[Any]:
    """Run a model call by call, with the calls of nested models in their places.

    Args:
        model: functional or Sequential, of either Keras.
        inputs: a value for each of ``model.inputs``.
        apply: ``apply(layer, outer, args, kwargs)`` returns the outputs of one call; ``outer`` is
            the name of the nested model that the layer is in, or empty.
        outer: the name of this model where it is nested in another.

    Returns:
        The value of each output, flat.
    """
    if is_sequential(model):
        return _walk_chain(model, inputs, apply, outer)
    nest = keras.tensorflow().nest
    values = {id(t): value for t, value in zip(model.inputs, inputs, strict=True)}
    for layer, args, kwargs, outputs in calls(model):
        filled = nest.map_structure(lambda x: values.get(id(x), x), (list(args), dict(kwargs)))
        made = _visit(layer, filled[0], filled[1], apply, outer)
        values.update((id(t), v) for t, v in zip(outputs, nest.flatten(made), strict=True))
    return [values[id(t)] for t in model.outputs]


def _walk_chain(
    model: Any, inputs: Sequence[Any], apply: Callable[..., Any], outer: str
) -> list[Any]:
    (value,) = inputs
    for layer in model.layers:
        value = _visit(layer, [value], {}, apply, outer)
        if is_graph(layer):
            (value,) = value
    return [value]


def _visit(layer: Any, args: list[Any], kwargs: Any, apply: Callable[..., Any], outer: str) -> Any:
    if not is_graph(layer):
        return apply(layer, outer, args, kwargs)
    training = kwargs.get("training")
    inner = apply if training is None else _with_training(apply, training)
    first = args[0] if args else kwargs["inputs"]
    return walk(layer, _nested_inputs(layer, first), inner, layer.name)


def _with_training(apply: Callable[..., Any], training: bool) -> Callable[..., Any]:
    """What ``nested(x, training=False)`` means for the layers inside."""

    def call(layer: Any, outer: str, args: Any, kwargs: Any) -> Any:
        if "training" in inspect.signature(layer.call).parameters:
            kwargs = {"training": training, **kwargs}
        return apply(layer, outer, args, kwargs)

    return call


def _nested_inputs(model: Any, given: Any) -> list[Any]:
    if isinstance(given, dict):
        return [given[name] for name, _, _ in inputs_of(model)]
    flat: list[Any] = keras.tensorflow().nest.flatten(given)
    return flat


def calls(model: Any) -> Iterator[tuple[Any, Any, Any, list[Any]]]:
    """Layer, arguments, keyword arguments and flat outputs of each call, in an order that runs."""
    nest = keras.tensorflow().nest
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            if hasattr(node, "arguments"):
                yield node.operation, node.arguments.args, _told(node), list(node.outputs)
            else:
                yield node.layer, node.call_args, node.call_kwargs, nest.flatten(node.outputs)


def _told(node: Any) -> dict[str, Any]:
    """Keyword arguments without ``training``: Keras 3 records a default and overrides it anyway."""
    return {k: v for k, v in node.arguments.kwargs.items() if k != "training"}


def operations(model: Any) -> list[Any]:
    """The layers and Keras 3 operations of a model, the nested ones' own not included."""
    return list(model.layers) if is_sequential(model) else [call[0] for call in calls(model)]


def producer(tensor: Any) -> Any:
    """The layer or operation that a symbolic tensor comes from."""
    return tensor._keras_history[0]


def dtype(tensor: Any) -> str:
    """The name of a tensor's type."""
    return tensor.dtype if isinstance(tensor.dtype, str) else str(tensor.dtype.name)


def output_names(model: Any) -> list[str]:
    """What the outputs are to be called: keys of a dict, else names of layers, maybe repeated."""
    structure = None if is_sequential(model) else model.output
    if isinstance(structure, dict) and len(structure) == len(model.outputs):
        return sorted(structure)
    return [producer(t).name for t in model.outputs]
