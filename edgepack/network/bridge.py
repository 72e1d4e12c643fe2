"""Turns a Keras 2 or 3 model into a flat tf_keras model, and proves that it is the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack import keras
from edgepack.network import activations
from edgepack.network.bridge_check import check_bridge, check_storable
from edgepack.network.bridge_layers import build, twin
from edgepack.network.graph import Rebuilt, Replacement, rebuild_traced, refuse_without_graph
from edgepack.network.layer_config import float32_config, normalization_config, weights_of
from edgepack.network.walk import is_keras3, output_names


def bridge(model: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """Rebuild a functional or Sequential Keras 3 model as a flat tf_keras model, and check it.

    Args:
        model: of Keras 3.
        custom: the user's classes and functions for tf_keras, by name.

    Raises:
        ModelError: if the model has no graph, a layer has no twin in tf_keras, a weight is not
            finite, or an output differs; the layer is named.
    """
    rebuilt = _bridge(model, dict(custom or {}))
    check_bridge(model, rebuilt.model, rebuilt.visits)
    check_storable(rebuilt.model, custom or {})
    return rebuilt.model


def flatten(model: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """Rebuild a tf_keras model with its nested models inlined, in float32, and check it.

    Args:
        model: of tf_keras.
        custom: the user's classes and functions, by name.

    Raises:
        ModelError: as `bridge`.
    """
    refuse_without_graph(model)
    names = output_names(model)
    with keras.tf_keras().utils.custom_object_scope(dict(custom or {})):
        rebuilt = rebuild_traced(model, lambda layer, name: _copy(layer, name, name in names))
    check_bridge(model, rebuilt.model, rebuilt.visits)
    check_storable(rebuilt.model, custom or {})
    return rebuilt.model


def to_flat(model: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """`bridge` or `flatten`, whichever the model needs."""
    return bridge(model, custom) if is_keras3(model) else flatten(model, custom)


def _bridge(model: Any, custom: Mapping[str, Any]) -> Rebuilt:
    refuse_without_graph(model)
    names = output_names(model)

    def make(layer: Any, name: str) -> Replacement:
        return twin(layer, name, custom, inner, is_output=name in names)

    def inner(wrapped: Any) -> Any:
        return _bridge(wrapped, custom).model

    with keras.tf_keras().utils.custom_object_scope(dict(custom)):
        return rebuild_traced(model, make)


def _copy(layer: Any, name: str, is_output: bool) -> Replacement:
    config = float32_config({**layer.get_config(), "name": name})
    if type(layer).__name__ == "Normalization":
        config = normalization_config(layer, config)
    split = _is_softsign(layer)
    if split:
        config.update(activation="linear", name=f"{name}_linear" if is_output else name)
    new = build(layer, lambda: type(layer).from_config(config))
    call = (lambda x: activations.softsign(new(x))) if split else new
    return Replacement(call=call, layer=new, weights=weights_of(layer, new))


def _is_softsign(layer: Any) -> bool:
    """Whether the layer ends in softsign, which TFLite does not have everywhere."""
    wanted = keras.tf_keras().activations.softsign
    return getattr(layer, "activation", None) is wanted and not hasattr(layer, "cell")
