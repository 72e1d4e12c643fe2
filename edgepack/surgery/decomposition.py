"""Puts several small layers of Keras in the place of a large one whose kernel was factorized."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.graph import Replacement, copy_layer, rebuild
from edgepack.network.kernels import kernels
from edgepack.surgery.factorization import Array, owners
from edgepack.surgery.ranks import Use

CLASSES = ("Dense", "Conv1D", "Conv2D", "Conv3D")
"""Layers of Keras that can be taken apart; a class of the user's own may compute something else."""


@dataclass(frozen=True)
class Site:
    """A layer of a flat model that can be taken apart.

    Attributes:
        layer: of tf_keras.
        kernel: its values.
        uses: its calls.
    """

    layer: Any
    kernel: Array
    uses: tuple[Use, ...]


def find_sites(model: Any) -> tuple[list[Site], list[str]]:
    """The layers of a flat model that can be taken apart, and the names of others with kernels."""
    own = [layer for layer in model.layers if _fits(layer)]
    known = {layer.name for layer in own}
    others = dict.fromkeys(k.layer.name for k in kernels(model) if k.layer.name not in known)
    return [_site(layer) for layer in own], list(others)


def _fits(layer: Any) -> bool:
    classes = [getattr(keras.tf_keras().layers, name) for name in CLASSES]
    if type(layer) not in classes or getattr(layer, "groups", 1) > 1:
        return False
    return bool(np.all(np.isfinite(layer.kernel.numpy())))


def _site(layer: Any) -> Site:
    uses = [
        Use(_positions(layer, node.input_tensors), _positions(layer, node.outputs))
        for node in layer.inbound_nodes
    ]
    return Site(layer, layer.kernel.numpy(), tuple(uses))


def _positions(layer: Any, tensor: Any) -> tuple[int, ...]:
    """The dimensions besides batch and channels; an open one counts 1."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    dims = tensor.shape[2:] if first else tensor.shape[1:-1]
    return tuple(1 if n is None else int(n) for n in dims)


def decompose(model: Any, factors: Mapping[str, Sequence[Array]]) -> Any:
    """A model with layers taken apart; the last part has the layer's bias, activation and name.

    Args:
        model: a flat tf_keras model.
        factors: kernels by the name of the layer in whose place they are.
    """
    taken = {layer.name for layer in model.layers}

    def make(layer: Any, name: str) -> Any:
        if layer.name not in factors:
            return copy_layer(layer, name)
        kernels = factors[layer.name]
        parts = _parts(layer, kernels, [*_new_names(name, len(kernels) - 1, taken), name])
        bias = [layer.bias.numpy()] if layer.use_bias else []
        *before, last = zip(parts, kernels, strict=True)
        further = [(part, [kernel]) for part, kernel in before]
        return Replacement(_chain(parts), last[0], [last[1], *bias], further)

    return rebuild(model, make)


def _new_names(name: str, count: int, taken: set[str]) -> list[str]:
    """Names that no layer has; they count as taken from now on."""
    free = (f"{name}_part{i}" for i in itertools.count(1))
    names = list(itertools.islice((n for n in free if n not in taken), count))
    taken.update(names)
    return names


def _parts(layer: Any, kernels: Sequence[Array], names: Sequence[str]) -> list[Any]:
    owner = owners([kernel.shape[:-2] for kernel in kernels])
    return [
        type(layer).from_config(
            _whole(layer)
            | _inner(name != names[-1])
            | _size(layer, kernel.shape, [takes == i for takes in owner])
            | {"name": name}
        )
        for i, (kernel, name) in enumerate(zip(kernels, names, strict=True))
    ]


def _whole(layer: Any) -> dict[str, Any]:
    """The layer's settings without those that only suit a kernel of its shape."""
    config = {k: v for k, v in layer.get_config().items() if k != "batch_input_shape"}
    return config | {"kernel_initializer": "zeros", "kernel_constraint": None}


def _inner(inner: bool) -> dict[str, Any]:
    """What is different in all parts but the last."""
    if not inner:
        return {}
    return {"use_bias": False, "activation": "linear", "activity_regularizer": None}


def _size(layer: Any, shape: Sequence[int], takes: Sequence[bool]) -> dict[str, Any]:
    """Channels and window of a part, with the strides and dilations that it takes."""
    *window, _, channels = shape
    if not window:
        return {"units": channels}
    steps = {
        word: tuple(n if own else 1 for n, own in zip(getattr(layer, word), takes, strict=True))
        for word in ("strides", "dilation_rate")
    }
    return {"filters": channels, "kernel_size": tuple(window), **steps}


def _chain(layers: Sequence[Any]) -> Callable[[Any], Any]:
    def call(x: Any, **_: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return call
