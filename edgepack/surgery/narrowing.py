"""Makes a model narrower: every layer but those of the outputs has fewer channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.graph import MakeLayer, Replacement, rebuild
from edgepack.network.walk import calls, producer
from edgepack.surgery.blocks import tensors_in

WIDTHS = ("filters", "units", "output_dim")
"""What layers call the number of their output channels."""

WRAPPED = ("layer", "backward_layer")
"""Where the settings of TimeDistributed and Bidirectional hold those of other layers."""


def narrow(model: Any, width: float, multiple: int, *, select: bool = True) -> Any:
    """A copy of a flat tf_keras model with fewer channels.

    The layers that decide the shape of an output keep their width.

    Args:
        model: the model.
        width: what the numbers of channels are multiplied with, as in MobileNet (Howard et al.
            2017, arXiv:1704.04861, section 3.3).
        multiple: what they are rounded to.
        select: whether weights are chosen from the model's, see `selected`; else they are new.

    Raises:
        StepError: if no layer can be made narrower, or the narrower ones do not fit together.
    """
    kept = last_layers(model)

    def make(layer: Any, name: str) -> Any:
        if type(layer).__name__ == "Reshape":
            return Replacement(call=_Reshaping(layer, name))
        config = {**layer.get_config(), "name": name}
        if name not in kept:
            config = _narrower(config, width, multiple)
        new = type(layer).from_config(config)
        return Replacement(call=lambda *args, **kwargs: new(*args, **kwargs))

    made = _rebuilt(model, make, width)
    shapes = zip(model.weights, made.weights, strict=True)
    if width < 1 and all(a.shape == b.shape for a, b in shapes):
        raise StepError(
            f"no layer gets narrower by {width:g} with channels in multiples of {multiple}",
            "set a smaller width, or a smaller multiple",
        )
    for layer in (x for x in made.layers if x.weights and (select or not x.trainable_weights)):
        pairs = zip(model.get_layer(layer.name).get_weights(), layer.weights, strict=True)
        layer.set_weights([selected(values, variable.shape) for values, variable in pairs])
    return made


def _rebuilt(model: Any, make: MakeLayer, width: float) -> Any:
    errors = keras.tensorflow().errors.InvalidArgumentError
    try:
        return rebuild(model, make)
    except (ValueError, TypeError, errors) as error:
        raise StepError(
            f"the model cannot be made {width:g} times as wide: {_line(error)}",
            "give a student of your own: FILE.py:function, or a model file",
        ) from error


def selected(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Evenly spaced slices of a weight along every dimension, as many as the shape asks for.

    Such weights are a better start than new ones (Xu et al. 2024, arXiv:2311.18823, section 3.1).
    """
    for axis, size in enumerate(shape):
        last = values.shape[axis] - 1
        values = np.take(values, np.linspace(0, last, size).round().astype(int), axis)
    return values


def scaled(size: int, width: float, multiple: int) -> int:
    """A number of channels times the width, in whole multiples where it is one or more itself."""
    unit = multiple if size >= multiple else 1
    return min(size, max(1, math.floor(size * width / unit + 0.5)) * unit)


def _narrower(config: Mapping[str, Any], width: float, multiple: int) -> dict[str, Any]:
    new = dict(config)
    for key in WIDTHS:
        if isinstance(new.get(key), int):
            new[key] = scaled(new[key], width, multiple)
    for key in WRAPPED:
        if isinstance(new.get(key), dict):
            inner = _narrower(new[key]["config"], width, multiple)
            new[key] = {**new[key], "config": inner}
    return new


def _has_width(config: Mapping[str, Any]) -> bool:
    inner = (config[key]["config"] for key in WRAPPED if isinstance(config.get(key), dict))
    return any(isinstance(config.get(key), int) for key in WIDTHS) or any(map(_has_width, inner))


def last_layers(model: Any) -> frozenset[str]:
    """The layers after which nothing else decides how many channels an output has."""
    read = {id(t): (args, kwargs) for _, args, kwargs, outputs in calls(model) for t in outputs}
    waiting, seen, found = list(model.outputs), set[int](), set[str]()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen or id(tensor) not in read:
            continue
        seen.add(id(tensor))
        layer = producer(tensor)
        if _has_width(layer.get_config()):
            found.add(layer.name)
            continue
        waiting += tensors_in(read[id(tensor)])
    return frozenset(found)


class _Reshaping:
    """A Reshape whose last dimension follows from what comes in."""

    def __init__(self, layer: Any, name: str) -> None:
        self.layer, self.name, self.made = layer, name, dict[tuple[int, ...], Any]()

    def __call__(self, x: Any) -> Any:
        """Reshape the narrower tensor; a shared layer is made once for each shape."""
        target = tuple(self.layer.target_shape)
        if -1 not in target and None not in x.shape[1:]:
            target = (*target[:-1], math.prod(x.shape[1:]) // max(1, math.prod(target[:-1])))
        if target not in self.made:
            name = f"{self.name}_{len(self.made)}" if self.made else self.name
            config = {**self.layer.get_config(), "name": name, "target_shape": target}
            self.made[target] = type(self.layer).from_config(config)
        return self.made[target](x)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
