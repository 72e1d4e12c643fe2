"""Makes the tf_keras twin of a Keras 3 layer: settings, wrapped layers, activation, calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.network import activations, bridge_ops
from edgepack.network.graph import Replacement
from edgepack.network.layer_config import (
    float32_config,
    is_mirror,
    normalization_config,
    parameters,
    plain,
    weights_of,
)
from edgepack.network.walk import is_graph, is_keras3

RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Settings that Keras 2 calls otherwise, by class."""

INNER = ("layer", "backward_layer", "forward_layer", "cell", "cells")
"""Settings of wrappers that hold other layers."""

CODE_HINT = "write a class of that name for tf_keras and give its file by --custom FILE.py"

Bridge = Callable[[Any], Any]
"""Bridges a whole model: for one inside a wrapper such as TimeDistributed."""


def twin(
    layer: Any, name: str, custom: Mapping[str, Any], bridge: Bridge, is_output: bool = False
) -> Replacement:
    """What takes the place of a Keras 3 layer or operation.

    An activation that tf_keras lacks or computes otherwise follows the layer as operations.

    Args:
        layer: of Keras 3.
        name: of the new layer.
        custom: the user's classes and functions for tf_keras, by name.
        bridge: bridges a model that the layer wraps.
        is_output: whether an output bears the name, which must then be left to what comes last.

    Raises:
        ModelError: if tf_keras has no such layer, operation or activation.
    """
    if not _is_layer(layer):
        return Replacement(call=_named_errors(bridge_ops.function_of(layer), layer))
    if type(layer).__name__ == "Lambda":
        return Replacement(call=_adapted(layer, _lambda(layer, name)))
    after = following(layer, custom)
    if after is not None and type(layer).__name__ == "Activation":
        return Replacement(call=_named_errors(after, layer))
    own = f"{name}_linear" if after is not None and is_output else name
    new = _make(layer, own, custom, bridge, split=after is not None)
    call = _adapted(layer, new)
    if after is not None:
        call = _then(call, after)
    return Replacement(call=_named_errors(call, layer), layer=new, weights=weights_of(layer, new))


def following(layer: Any, custom: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """The activation to apply after a layer, where the tf_keras layer cannot hold it itself."""
    inner = getattr(layer, "layer", None) if type(layer).__name__ == "TimeDistributed" else layer
    activation = getattr(inner, "activation", None)
    if activation is None or is_graph(inner) or not _is_builtin(inner) or _is_recurrent(inner):
        return None
    if _is_layer(activation):
        if activation.weights:
            _refuse_activation(layer, "activation", activation)
        return twin(activation, f"{layer.name}_{activation.name}", custom, _no_model).__call__
    name = getattr(activation, "__name__", type(activation).__name__)
    if name in custom or (name in activations.SAME and is_keras_function(activation)):
        return None
    return _applied(layer, activation, name)


def _applied(layer: Any, activation: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """An activation function as one on tf_keras tensors."""
    if str(getattr(activation, "__module__", "")).startswith("tensorflow."):
        return activation
    function = activations.other(name) if is_keras_function(activation) else None
    if function is None and name == "<lambda>":
        made: Callable[[Any], Any] = keras.tf_keras().layers.Lambda(
            activation, name=f"{layer.name}_activation"
        )
        return made
    if function is None:
        raise ModelError(
            f"the activation {name!r} of layer {layer.name!r} ({type(layer).__name__})"
            " is not known to tf_keras",
            f"write a function {name} with TensorFlow and give its file by --custom FILE.py",
        )
    return function


def is_keras_function(function: Any) -> bool:
    """Whether this is Keras 3's own function, not one of the user's that has its name."""
    return str(getattr(function, "__module__", "")).split(".")[0] == "keras"


def build(layer: Any, make: Callable[[], Any]) -> Any:
    """Make a layer; what tf_keras raises meanwhile becomes a ModelError that names it."""
    try:
        return make()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unmade(layer, error) from error


def _make(layer: Any, name: str, custom: Mapping[str, Any], bridge: Bridge, split: bool) -> Any:
    cls = _class_of(layer, custom)
    config = plain(float32_config({**layer.get_config(), "name": name}))
    config.update(_inner_layers(layer, config, custom, bridge))
    config.update(_functions(layer, config, custom))
    if not _is_builtin(layer) or type(layer).__name__ in custom:
        return build(layer, lambda: cls.from_config(config))
    for old, new in RENAMED.get(cls.__name__, {}).items():
        config[new] = config.pop(old)
    if split and "activation" in config:
        config["activation"] = None
    if cls.__name__ == "Normalization":
        config = normalization_config(layer, config)
    known = parameters(cls)
    kept = {k: v for k, v in config.items() if k in known and not k.endswith("_initializer")}
    return build(layer, lambda: cls(**kept))


def _unmade(layer: Any, error: Exception) -> ModelError:
    message = str(error).strip().partition("\n")[0]
    return ModelError(
        f"the layer {layer.name!r} ({type(layer).__name__}) cannot be made for tf_keras: {message}",
        CODE_HINT,
    )


def _class_of(layer: Any, custom: Mapping[str, Any]) -> Any:
    kind = type(layer).__name__
    found = custom.get(kind)
    if found is None and _is_builtin(layer):
        found = getattr(keras.tf_keras().layers, kind, None)
    if found is None:
        raise ModelError(
            f"the layer {layer.name!r} is a {kind}, which tf_keras does not have", CODE_HINT
        )
    return found


def _inner_layers(
    layer: Any, config: dict[str, Any], custom: Mapping[str, Any], bridge: Bridge
) -> dict[str, Any]:
    """The wrapped layers as twins; a wrapped model is bridged as a model."""

    def make(inner: Any) -> Any:
        if isinstance(inner, list | tuple):
            return [make(x) for x in inner]
        if is_graph(inner):
            return bridge(inner)
        split = type(layer).__name__ == "TimeDistributed" and following(layer, custom) is not None
        if not split and following(inner, custom) is not None:
            _refuse_activation(inner, "activation", inner.activation)
        return _make(inner, inner.name.removeprefix("forward_"), custom, bridge, split)

    held = {k: getattr(layer, k, None) for k in INNER if config.get(k)}
    if type(layer).__name__ == "Bidirectional":
        held["layer"] = layer.forward_layer
        if is_mirror(layer.forward_layer, layer.backward_layer):
            held["backward_layer"] = config["backward_layer"] = None
    return {k: make(v) for k, v in held.items() if v is not None}


def _functions(layer: Any, config: dict[str, Any], custom: Mapping[str, Any]) -> dict[str, Any]:
    """The activations, by tf_keras names or as the user's own functions."""
    given: dict[str, Any] = {}
    for key in config:
        function = getattr(layer, key, None)
        if key.rpartition("_")[2] != "activation" or function is None:
            continue
        name = getattr(function, "__name__", type(function).__name__)
        if name in custom:
            given[key] = custom[name]
        elif name in activations.SAME and is_keras_function(function):
            given[key] = activations.SAME[name]
        elif _is_recurrent(layer):
            _refuse_activation(layer, key, function)
    return given


def _refuse_activation(layer: Any, key: str, function: Any) -> None:
    name = getattr(function, "__name__", type(function).__name__)
    raise ModelError(
        f"the {key} {name!r} inside layer {layer.name!r} ({type(layer).__name__})"
        " is not one that tf_keras computes alike",
        f"train it with one of {', '.join(sorted(activations.SAME))}",
    )


def _adapted(layer: Any, new: Any) -> Callable[..., Any]:
    """Calls the new layer with the arguments of a call of the old one, matched by name."""
    names = list(inspect.signature(layer.call).parameters)
    known = inspect.signature(new.call).parameters

    def call(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else kwargs.pop(names[0])
        given = {**dict(zip(names[1:], args[1:], strict=False)), **kwargs}
        told = {k: v for k, v in given.items() if v is not None and v is not False}
        unknown = [k for k in told if k not in known and not k.endswith("_mask")]
        if unknown:
            raise ModelError(
                f"the layer {layer.name!r} ({type(layer).__name__}) is called with"
                f" {', '.join(unknown)}, which tf_keras does not know",
                CODE_HINT,
            )
        return new(first, **{k: v for k, v in told.items() if k in known})

    return call


def _then(call: Callable[..., Any], after: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: after(call(*args, **kwargs))


def _named_errors(call: Callable[..., Any], layer: Any) -> Callable[..., Any]:
    """What tf_keras raises while the graph is built, with the layer's name to it."""
    tf = keras.tensorflow()

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except (
            AttributeError,
            NotImplementedError,
            TypeError,
            ValueError,
            tf.errors.OpError,
        ) as error:
            raise _unmade(layer, error) from error

    return guarded


def _lambda(layer: Any, name: str) -> Any:
    """A tf_keras Lambda layer around the function; the user allowed code by --allow-code."""
    make = keras.tf_keras().layers.Lambda
    return make(layer.function, arguments=layer.arguments or None, name=name)


def _no_model(model: Any) -> Any:
    raise ModelError(f"the model {model.name!r} is used as an activation", CODE_HINT)


def _is_layer(thing: Any) -> bool:
    return any(
        c.__name__ == "Layer" and c.__module__.startswith("keras.") for c in type(thing).__mro__
    )


def _is_builtin(layer: Any) -> bool:
    return is_keras3(layer) and type(layer).__module__.split(".")[0] == "keras"


def _is_recurrent(layer: Any) -> bool:
    return any(c.__module__.split(".")[-2:-1] == ["rnn"] for c in type(layer).__mro__)
