"""Finds the kernels of a tf_keras model, in wrappers and nested models too, and counts its cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.training.properties import Weight

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings")
"""What Keras calls the weights that are multiplied with activations."""

QUANTIZERS = ("QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2")
"""TF-MOT's layers, whose ranges and step counters are no parameters of the model."""

WRAPPERS = ("tensorflow_model_optimization", "edgepack.training.reparametrization")
"""Modules of the layers that train another layer and are taken away afterwards."""

RECURRENT = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a model.

    Attributes:
        name: the plain layer's name and the weight's, the same inside and outside a wrapper.
        variable: the TensorFlow variable, which training changes.
        layer: the plain layer.
    """

    name: str
    variable: Any
    layer: Any

    @property
    def word(self) -> str:
        """One of `KERNELS`."""
        return self.name.rsplit("/", 1)[-1]

    def weight(self) -> Weight:
        """The values as they are now; a depthwise kernel's two last dimensions are its channels."""
        values = self.variable.numpy()
        if self.word == "depthwise_kernel":
            values = values.reshape(*values.shape[:-2], -1)
        return Weight(self.name, values, self._channel_axis(values.ndim))

    def channels(self) -> np.ndarray[Any, Any]:
        """The number of the output channel that each value belongs to, in the variable's shape."""
        values = self.weight()
        shape = np.ones(values.values.ndim, int)
        shape[values.channel_axis] = -1
        numbers = np.arange(values.values.shape[values.channel_axis]).reshape(shape)
        return np.broadcast_to(numbers, values.values.shape).reshape(self.variable.shape)

    def _channel_axis(self, dimensions: int) -> int:
        if self.word == "embeddings":
            return 0
        transposed = type(self.layer).__name__.endswith("Transpose")
        return dimensions - (2 if transposed else 1)


def kernels(model: Any) -> list[Kernel]:
    """The kernels of a tf_keras model, each once, in the order of its weights."""
    owners = _owners(model)
    found = []
    for variable in model.weights:
        word = _word(variable)
        if word in KERNELS and len(variable.shape) > 1:
            layer = plain(owners[id(variable)])
            found.append(Kernel(f"{layer.name}/{word}", variable, layer))
    return found


def plain(layer: Any) -> Any:
    """The layer that one of `WRAPPERS` wraps, or the layer itself."""
    wraps = type(layer).__module__.startswith(WRAPPERS)
    return getattr(layer, "layer", layer) if wraps else layer


def _word(variable: Any) -> str:
    name: str = variable.name
    return name.split(":")[0].rsplit("/", 1)[-1]


def _owners(model: Any) -> dict[int, Any]:
    """The innermost layer that owns a variable; a recurrent layer rather than its cell."""
    owners: dict[int, tuple[int, Any]] = {}
    for layer in model._flatten_layers(recursive=True, include_self=False):
        weights = layer.weights
        for variable in weights:
            count = owners.get(id(variable), (math.inf, None))[0]
            if len(weights) < count:
                owners[id(variable)] = (len(weights), layer)
    return {key: layer for key, (_, layer) in owners.items()}


def keras_weights(model: Any) -> list[Weight]:
    """The values of all kernels as they are now."""
    return [kernel.weight() for kernel in kernels(model)]


def parameters(model: Any) -> int:
    """The number of values that a model has learnt, moving statistics included."""
    owners = _owners(model)
    return sum(
        math.prod(v.shape)
        for v in model.weights
        if type(owners[id(v)]).__name__ not in QUANTIZERS
        or _word(v) in (*KERNELS, "bias", "gamma", "beta", "moving_mean", "moving_variance")
    )


def macs(model: Any) -> int:
    """Multiply-accumulates of one sample; an open dimension counts 1, other layers count 0."""
    total = 0
    for node in (n for nodes in model._nodes_by_depth.values() for n in nodes if not n.is_input):
        nested = hasattr(node.layer, "_nodes_by_depth")
        total += macs(node.layer) if nested else call_macs(node)
    return total


def call_macs(node: Any) -> int:
    """Multiply-accumulates of one call of a layer: each weight meets as many activations as it has
    positions.
    """
    nest = keras.tensorflow().nest
    layer, kind = plain(node.layer), type(plain(node.layer)).__name__
    inputs = [_dims(t) for t in nest.flatten(node.input_tensors)]
    output = _dims(nest.flatten(node.outputs)[0])
    size: int = sum(math.prod(v.shape) for v in node.layer.weights if _word(v) in KERNELS)
    if size == 0 or kind == "Embedding":
        return 0
    if kind in RECURRENT:
        return size * inputs[0][1]
    if kind == "MultiHeadAttention":
        products: int = 2 * inputs[0][1] * inputs[-1][1] * layer._num_heads * layer._key_dim
        return size * inputs[0][1] + products
    positions = inputs[0] if kind.endswith("Transpose") else output
    return size * math.prod(positions[1:-1])


def _dims(tensor: Any) -> tuple[int, ...]:
    return tuple(1 if n is None else n for n in tensor.shape)
