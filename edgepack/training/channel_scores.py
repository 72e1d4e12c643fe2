"""How much each channel matters: by its weights, by its normalization, or by what flows in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.surgery.channels import Array
from edgepack.surgery.coupling import Coupling, Group
from edgepack.training.objective import Objective
from edgepack.training.trials import Samples, supervised

Scores = list[Array | None]
"""For each group the importance of its channels; None where the criterion says nothing of it."""


def scores(
    model: Any, coupling: Coupling, criterion: str, objective: Objective, samples: Samples
) -> Scores:
    """The importance of each channel of each group.

    Those by weights and by activations are parts of the mean over a layer's channels, so that
    layers compare; a group has the mean over its layers. Those by ``taylor`` are changes of the
    loss, which compare as they are, and add up.

    Args:
        model: a flat functional tf_keras model.
        coupling: its channels.
        criterion: ``l1`` and ``l2``, norms of the kernels that give a channel (Li et al. 2017,
            arXiv:1608.08710); ``bn``, the scale of its batch normalization (Liu et al. 2017,
            arXiv:1708.06519); ``taylor``, ``|gradient * activation|`` summed over a map, averaged
            over samples (Molchanov et al. 2017, arXiv:1611.06440, equation 8); ``activation``, one
            less the average share of zeros (Hu et al. 2016, arXiv:1607.03250, equation 1).
        objective: the loss; only ``taylor`` needs it.
        samples: for the last two.
    """
    if criterion in ("l1", "l2"):
        return _by_kernels(model, coupling, 1 if criterion == "l1" else 2)
    if criterion == "bn":
        return _by_scales(model, coupling)
    measure = _taylor if criterion == "taylor" else _activation
    totals = measure(model, coupling, objective, samples)
    found = [_of(group, totals) for group in coupling.groups]
    if criterion == "taylor":
        return [values if values.any() else None for values in found]
    return [_relative(values) if np.ptp(values) else None for values in found]


def _relative(values: Array) -> Array:
    mean = float(values.mean())
    relative: Array = values / mean if mean else values
    return relative


def _of(group: Group, totals: dict[int, float]) -> Array:
    return np.array([totals.get(int(number), 0.0) for number in group.channels])


def _summed(numbers: Array, values: Array, group: Group) -> Array:
    """For each channel of a group the sum of the values that are its own."""
    each, where = np.unique(numbers, return_inverse=True)
    totals = np.bincount(where.ravel(), values)
    return _of(group, dict(zip(each.tolist(), totals.tolist(), strict=True)))


def _by_kernels(model: Any, coupling: Coupling, order: int) -> Scores:
    found: Scores = []
    for group in coupling.groups:
        parts = []
        for place in (p for p in group.counts if p in coupling.born):
            kernel = model.get_layer(place.layer).weights[int(place.key)].numpy()
            rows = np.moveaxis(kernel, place.axis, 0).reshape(kernel.shape[place.axis], -1)
            norms = _relative(np.linalg.norm(rows.astype(np.float64), order, axis=1))
            parts.append(_summed(coupling.places[place], norms, group))
        found.append(np.mean(parts, axis=0))
    return found


def _by_scales(model: Any, coupling: Coupling) -> Scores:
    found: Scores = []
    for group in coupling.groups:
        parts = []
        for place in (p for p in group.counts if p.kind == "weight"):
            layer = model.get_layer(place.layer)
            if getattr(layer, "gamma", None) is layer.weights[int(place.key)]:
                scales = _relative(np.abs(layer.gamma.numpy().astype(np.float64)))
                parts.append(_summed(coupling.places[place], scales, group))
        found.append(np.mean(parts, axis=0) if parts else None)
    return found


class _Probe:
    """A model that gives, besides its outputs, the tensors that kernels read."""

    def __init__(self, model: Any, coupling: Coupling) -> None:
        read = [(tensor, numbers) for tensor, numbers in coupling.read if numbers.any()]
        outputs = [*model.outputs, *(tensor for tensor, _ in read)]
        self.channels = [np.unique(numbers, return_inverse=True) for _, numbers in read]
        self._count = len(model.outputs)
        self._model = keras.tf_keras().Model(model.inputs, outputs)

    def __call__(self, inputs: Sequence[Any]) -> tuple[Any, Any]:
        """The outputs, and what is read."""
        outputs = self._model(inputs[0] if len(inputs) == 1 else inputs, training=False)
        outputs = keras.tensorflow().nest.flatten(outputs)
        return outputs[: self._count], outputs[self._count :]

    def totals(self, measure: Any, samples: Samples) -> dict[int, float]:
        """For each channel the mean over samples, added up over the tensors that it is in."""
        compiled, totals = keras.tensorflow().function(measure), dict[int, float]()
        count = sum(len(inputs[0]) for inputs, _ in samples)
        for inputs, labels in samples:
            measured = [values.numpy().tolist() for values in compiled(inputs, labels)]
            for (ids, _), values in zip(self.channels, measured, strict=True):
                for number, value in zip(ids.tolist(), values, strict=True):
                    totals[number] = totals.get(number, 0.0) + value / count
        return totals


def _taylor(
    model: Any, coupling: Coupling, objective: Objective, samples: Samples
) -> dict[int, float]:
    tf, probe = keras.tensorflow(), _Probe(model, coupling)

    def changes(inputs: Any, labels: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            outputs, maps = probe(inputs)
            loss = supervised(objective, labels, outputs)
        gradients = tape.gradient(loss, maps, unconnected_gradients="zero")
        rows = zip(maps, gradients, probe.channels, strict=True)
        return [_change(y, gradient, *channels) for y, gradient, channels in rows]

    return probe.totals(changes, samples)


def _change(y: Any, gradient: Any, ids: Array, where: Array) -> Any:
    """By how much the loss of a sample would change without a channel, summed over samples."""
    tf = keras.tensorflow()
    size = tf.cast(tf.shape(y)[0], y.dtype)
    product = tf.reduce_sum(y * gradient * size, list(range(1, len(y.shape) - 1)))
    rows = tf.math.unsorted_segment_sum(tf.transpose(product), where.ravel(), len(ids))
    return tf.reduce_sum(tf.abs(rows), 1)


def _activation(model: Any, coupling: Coupling, _: Objective, samples: Samples) -> dict[int, float]:
    probe = _Probe(model, coupling)

    def shares(inputs: Any, _: Any) -> list[Any]:
        _, maps = probe(inputs)
        return [_share(y, *channels) for y, channels in zip(maps, probe.channels, strict=True)]

    return probe.totals(shares, samples)


def _share(y: Any, ids: Array, where: Array) -> Any:
    """The share of a channel's values that are not zero, summed over samples."""
    tf = keras.tensorflow()
    active = tf.cast(tf.not_equal(y, 0), tf.float32)
    shares = tf.transpose(tf.reduce_mean(active, list(range(1, len(y.shape) - 1))))
    return tf.reduce_sum(tf.math.unsorted_segment_mean(shares, where.ravel(), len(ids)), 1)
