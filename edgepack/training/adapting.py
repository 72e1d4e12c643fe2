"""Trains a model by adapters: most weights are frozen, a few small ones beside them learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.network.graph import copy_layer, rebuild
from edgepack.network.kernels import KERNELS
from edgepack.training.adapter import Adapter, Layer, Piece, Update, pack_mask, piece_of
from edgepack.training.reparametrization import Parametrization, learnt, reparametrize

ADAPTED = ("Conv1D", "Conv2D", "Conv3D", "Dense")
"""Layers whose kernel gets an update."""

NORMALIZING = ("BatchNormalization", "LayerNormalization", "GroupNormalization")
"""Layers that may be trained whole: their factors and offsets are few."""


@dataclass(frozen=True)
class Choice:
    """What is trained of a model.

    Attributes:
        rank: of the updates.
        scale: of the updates.
        adapted: names of layers whose kernel gets one.
        masked: those of them whose zeros stay.
        whole: names of layers that are trained as they are.
        biases: whether biases are trained, too.
    """

    rank: int
    scale: float
    adapted: frozenset[str]
    masked: frozenset[str]
    whole: frozenset[str]
    biases: bool


def pays(kernel: Any, rank: int) -> bool:
    """Whether an update has fewer values than the kernel."""
    rows, columns = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    return bool(rank * (rows + columns) < rows * columns)


def attach(model: Any, choice: Choice, seed: int) -> Any:
    """A copy of a flat tf_keras model in which only what is chosen can be trained.

    Updates start at zero: A is random, B is not (Hu et al. 2021, section 4.1).
    """
    rng = np.random.default_rng(seed)
    chosen = {}
    for layer in model.layers:
        if layer.name in choice.adapted:
            chosen[layer.name] = _update(layer.kernel.numpy(), layer.name, choice, rng)
        elif choice.biases and layer.name not in choice.whole and (word := _only_kernel(layer)):
            chosen[layer.name] = Parametrization(word, _frozen)
    made = reparametrize(rebuild(model, _unregularized), chosen)
    for layer in made.layers:
        if layer.name not in chosen and layer.name not in choice.whole:
            layer.trainable = False
    return made


def _frozen(own: Any) -> Any:
    return keras.tensorflow().stop_gradient(own)


def _update(
    kernel: NDArray[Any], name: str, choice: Choice, rng: np.random.Generator
) -> Parametrization:
    tf = keras.tensorflow()
    rows, columns = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    factor = choice.scale * (kernel != 0 if name in choice.masked else np.ones(kernel.shape))
    factors = tf.constant(factor.astype(np.float32))

    def compute(own: Any, a: Any, b: Any) -> Any:
        return _frozen(own) + factors * tf.reshape(a @ b, own.shape)

    start = rng.normal(scale=rows**-0.5, size=(rows, choice.rank)).astype(np.float32)
    added = {"a": start, "b": np.zeros((choice.rank, columns), np.float32)}
    return Parametrization("kernel", compute, added, frozen=not choice.biases)


def _only_kernel(layer: Any) -> str:
    """The word for the kernel of a layer with a bias and one kernel; empty for other layers."""
    words = [word for word in KERNELS if getattr(layer, word, None) is not None]
    has_bias = getattr(layer, "use_bias", False) and not hasattr(layer, "cell")
    return words[0] if has_bias and len(words) == 1 else ""


def _unregularized(layer: Any, name: str) -> Any:
    """A copy without penalties, which would pull at weights that are frozen."""
    config = layer.get_config()
    gone = {key: None for key in config if key.endswith("_regularizer")}
    return (
        copy_layer(layer, name)
        if not gone
        else type(layer).from_config({**config, **gone, "name": name})
    )


def trained_values(made: Any) -> int:
    """How many values of what `attach` gave are trained."""
    frozen = {id(kernel) for kernel in _frozen_kernels(made)}
    return sum(math.prod(v.shape) for v in made.trainable_variables if id(v) not in frozen)


def _frozen_kernels(made: Any) -> list[Any]:
    wrapped = [layer for layer in made.layers if hasattr(layer, "parametrization")]
    return [getattr(layer.layer, layer.parametrization.word) for layer in wrapped]


def adapter_of(model: Any, made: Any, choice: Choice) -> Adapter:
    """What training has changed.

    Args:
        model: as it was before.
        made: what `attach` gave of it, trained.
        choice: what was trained.
    """
    found = learnt(made)
    layers = []
    for layer in model.layers:
        trained = made.get_layer(layer.name)
        change = partial(_change, layer, trained, found.get(layer.name, {}), choice)
        pieces = [change(i) for i in range(len(layer.weights))]
        if any(piece.change is not None for piece in pieces):
            layers.append(Layer(layer.name, tuple(pieces)))
    return Adapter(tuple(layers))


def _change(
    layer: Any, trained: Any, added: Mapping[str, NDArray[Any]], choice: Choice, index: int
) -> Piece:
    word = layer.weights[index].name.split(":")[0].rsplit("/", 1)[-1]
    before, after = (x.weights[index].numpy() for x in (layer, getattr(trained, "layer", trained)))
    if word == "kernel" and added:
        mask = pack_mask(before) if layer.name in choice.masked else None
        return piece_of(word, before, Update(added["a"], added["b"], choice.scale, mask))
    return piece_of(word, before, None if np.array_equal(before, after) else after)


def merge(model: Any, adapter: Adapter) -> None:
    """Change the weights of the model that an adapter was made for, in place."""
    for layer in adapter.layers:
        own = model.get_layer(layer.name)
        values = zip(layer.pieces, own.get_weights(), strict=True)
        own.set_weights([piece.apply(old) for piece, old in values])
