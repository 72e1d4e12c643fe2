"""Lets layers train with kernels that are computed from other variables, then makes them plain."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.graph import Replacement, copy_layer, rebuild

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Parametrization:
    """What a layer computes with in the place of one of its weights.

    Attributes:
        word: the weight, one of `edgepack.network.kernels.KERNELS`.
        compute: ``compute(own, *added)`` gives the weight in TensorFlow operators; ``own`` is the
            layer's own variable, ``added`` are the variables below in their order.
        added: more variables that are trained, by name, with what they start from.
        frozen: whether the layer's own variables stay as they are.
    """

    word: str
    compute: Callable[..., Any]
    added: Mapping[str, Array] = field(default_factory=dict)
    frozen: bool = False


def reparametrize(model: Any, chosen: Mapping[str, Parametrization]) -> Any:
    """A copy of a model in which some layers compute with other weights than their own.

    Layers keep their names, outputs too, and kernels are found as before: `kernels` gives the
    layer's own variable. It trains with `edgepack.training.loop.fit`.

    Args:
        model: a tf_keras model.
        chosen: parametrizations by the names of layers, as `rebuild` names them; the layers take
            one input: convolutions, dense ones, embeddings.

    Raises:
        ValueError: if the model has no layer of such a name.
    """
    left = set(chosen)

    def make(layer: Any, name: str) -> Any:
        new = copy_layer(layer, name)
        if name not in chosen:
            return new
        left.discard(name)
        return Replacement(call=_wrapper()(new, chosen[name]), layer=new)

    made = rebuild(model, make)
    if left:
        raise ValueError(f"{model.name} has no layers {sorted(left)}")
    return made


def strip(model: Any) -> Any:
    """A plain copy of what `reparametrize` gave; the weights are what was computed last."""

    def make(layer: Any, name: str) -> Any:
        if not isinstance(layer, _wrapper()):
            return copy_layer(layer, name)
        config = {**layer.layer.get_config(), "trainable": layer.was_trainable}
        return Replacement(
            layer=type(layer.layer).from_config(config), weights=_plain_weights(layer)
        )

    return rebuild(model, make)


def learnt(model: Any) -> dict[str, dict[str, Array]]:
    """The values of the added variables, by layer and by name."""
    return {
        layer.name: {
            name: variable.numpy()
            for name, variable in zip(layer.parametrization.added, layer.added, strict=True)
        }
        for layer in model.layers
        if isinstance(layer, _wrapper())
    }


@cache
def _wrapper() -> Any:
    """The class of the wrapper, which needs tf_keras."""
    base: Any = keras.tf_keras().layers.Wrapper
    autograph = keras.tensorflow().autograph.experimental

    class Reparametrized(base):  # type: ignore[misc]
        """A layer that computes with what a parametrization says."""

        def __init__(self, layer: Any, parametrization: Parametrization) -> None:
            super().__init__(layer, name=layer.name)
            self.parametrization = parametrization
            self.supports_masking = layer.supports_masking
            self.was_trainable = layer.trainable
            layer.trainable = layer.trainable and not parametrization.frozen

        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            start = keras.tensorflow().constant_initializer
            self.added = [
                self.add_weight(name, values.shape, initializer=start(values))
                for name, values in self.parametrization.added.items()
            ]

        def call(self, inputs: Any) -> Any:
            return autograph.do_not_convert(_call)(self, inputs)

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            return self.layer.compute_mask(inputs, mask)

    return Reparametrized


def _own(wrapper: Any) -> Any:
    return getattr(wrapper.layer, wrapper.parametrization.word)


def _computed(wrapper: Any) -> Any:
    return wrapper.parametrization.compute(_own(wrapper), *wrapper.added)


def _call(wrapper: Any, inputs: Any) -> Any:
    with _standing_in(wrapper.layer, wrapper.parametrization.word, _computed(wrapper)):
        return wrapper.layer(inputs)


def _plain_weights(wrapper: Any) -> list[Array]:
    own, computed = _own(wrapper), _computed(wrapper).numpy()
    return [computed if v is own else v.numpy() for v in wrapper.layer.weights]


@contextlib.contextmanager
def _standing_in(layer: Any, word: str, value: Any) -> Iterator[None]:
    """Let a layer find a value in the place of its variable, which it goes on owning."""
    own = getattr(layer, word)
    # tf_keras would forget a variable that is replaced in its own way.
    object.__setattr__(layer, word, value)
    try:
        yield
    finally:
        object.__setattr__(layer, word, own)
