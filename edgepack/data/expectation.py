"""What a model was trained on, measured on the model itself: never assumed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.network.walk import inputs_of, walk

Array = NDArray[Any]

SAMPLES = 64
DEVIATIONS = 4.0
"""Either side of a mean: what a normalization layer's statistics say of its inputs."""
DEAD = 1e-6
"""A channel that varied less than this in training says nothing of its inputs."""
SCALERS = ("Rescaling", "Normalization")
NORMALIZERS = ("BatchNormalization", "SyncBatchNormalization")


@dataclass(frozen=True)
class Range:
    """The values that an input had in training, and what tells so."""

    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Expectation:
    """What is known of a model's training data.

    Attributes:
        ranges: by input name.
        normalization: the first batch normalization that the inputs reach; empty without one.
        variance_ratio: of the samples there to what it saw in training, the median channel.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    normalization: str = ""
    variance_ratio: float | None = None


class _EnoughSeenError(Exception):
    """Ends a walk through a model at its first batch normalization."""


@dataclass
class _Watch:
    """Looks at the calls of a model's layers while it runs."""

    inputs: Mapping[str, Any]
    ranges: dict[str, Range] = field(default_factory=dict)
    normalization: str = ""
    variance_ratio: float | None = None

    def __call__(self, layer: Any, outer: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        """Run one layer, after a look at what it is given."""
        kind = type(layer).__name__
        for name, value in self.inputs.items():
            if kind in SCALERS and args and args[0] is value:
                self.ranges[name] = range_before(layer)
        if kind in NORMALIZERS:
            self.normalization = f"the layer {layer.name}"
            self.variance_ratio = variance_ratio(layer, np.asarray(args[0]))
            raise _EnoughSeenError
        return layer(*args, **kwargs)


def expect(model: Any, samples: Mapping[str, Array]) -> Expectation:
    """What a tf_keras model says of its training data.

    A `Rescaling` or `Normalization` right after an input tells the input's range. The first batch
    normalization tells the variance that it saw, to be compared with that of the samples.

    Args:
        model: functional or Sequential.
        samples: preprocessed, by input name; the first 64 are run up to the batch normalization.
    """
    if _kinds(model).isdisjoint(SCALERS + NORMALIZERS):
        return Expectation()
    signature = inputs_of(model)
    convert = keras.tensorflow().convert_to_tensor
    inputs = {name: convert(samples[name][:SAMPLES].astype(t)) for name, _, t in signature}
    watch = _Watch(inputs)
    with contextlib.suppress(_EnoughSeenError):
        walk(model, list(inputs.values()), watch)
    return Expectation(watch.ranges, watch.normalization, watch.variance_ratio)


def _kinds(layer: Any) -> set[str]:
    """The classes of all layers in a model, nested ones too."""
    return {type(layer).__name__}.union(*map(_kinds, getattr(layer, "layers", ())))


def range_of(x: Array, source: str) -> Range | None:
    """The range of the finite values of samples, which ``source`` tells; None without any."""
    if not (np.isfinite(x.min()) and np.isfinite(x.max())):
        x = x[np.isfinite(x)]
    return Range(float(x.min()), float(x.max()), source) if x.size else None


def range_before(layer: Any) -> Range:
    """The range of raw values that a first tf_keras `Rescaling` or `Normalization` is made for.

    A rescaling is taken to give 0 to 1, or -1 to 1 where its offset is negative.
    """
    source = f"the layer {layer.name}"
    if type(layer).__name__ == "Rescaling":
        scale, offset = np.atleast_1d(layer.scale), np.atleast_1d(layer.offset)
        low = np.where(offset < 0, -1.0, 0.0)
        ends = np.stack([(low - offset) / scale, (1 - offset) / scale])
    else:
        mean, variance = np.asarray(layer.mean), np.asarray(layer.variance)
        reach = DEVIATIONS * np.sqrt(variance)
        ends = np.stack([mean - reach, mean + reach])
    return Range(float(ends.min()), float(ends.max()), source)


def variance_ratio(layer: Any, x: Array) -> float | None:
    """How much more samples vary at a batch normalization than what it was trained on.

    Args:
        layer: a tf_keras batch normalization.
        x: what reaches it, ``[n, ...]``.

    Returns:
        The median over the channels; None where it was never trained, or all channels are dead.
    """
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    trained = np.any(mean != 0) or np.any(variance != 1)
    alive = variance > DEAD
    if not trained or not alive.any():
        return None
    (axis,) = np.atleast_1d(layer.axis)
    channels = np.moveaxis(x, int(axis), -1).reshape(-1, len(variance))
    return float(np.median(channels.var(axis=0)[alive] / variance[alive]))
