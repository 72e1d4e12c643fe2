"""Derives the loss of each output from its last activation and from what the labels look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.data.dataset import Dataset, match
from edgepack.errors import DataError, RecipeError
from edgepack.network.kernels import plain

AUTO = "auto"
"""The setting that asks for `derive_loss`."""

PASSING = ("Flatten", "Reshape", "Dropout", "Permute", "QuantizeLayer")
"""Layers that hand on what the activation before them gave."""


@dataclass(frozen=True)
class Loss:
    """The loss of one output.

    Attributes:
        output: the output's name.
        name: a loss of tf_keras.
        from_logits: whether the output has no softmax or sigmoid, so that the loss applies it.
    """

    output: str
    name: str
    from_logits: bool = False

    def __str__(self) -> str:
        return self.name + (" from logits" if self.from_logits else "")

    def function(self) -> Callable[[Any, Any], Any]:
        """``f(labels, outputs)``, the mean over a batch."""
        tf = keras.tensorflow()
        compute = keras.tf_keras().losses.get(self.name)
        options = {"from_logits": True} if self.from_logits else {}

        def mean(labels: Any, outputs: Any) -> Any:
            shape = tf.shape(outputs)[:-1] if self.name.startswith("sparse") else tf.shape(outputs)
            return tf.reduce_mean(compute(tf.reshape(labels, shape), outputs, **options))

        return mean


@dataclass(frozen=True)
class Objective:
    """The losses of all outputs in their order; what is trained on is their sum."""

    losses: tuple[Loss, ...]

    def __str__(self) -> str:
        if len(self.losses) == 1:
            return str(self.losses[0])
        return ", ".join(f"{loss.output}: {loss}" for loss in self.losses)


def derive_loss(model: Any, dataset: Dataset, name: str = AUTO) -> Objective:
    """What to train a model on.

    Args:
        model: a tf_keras model.
        dataset: its training split is looked at.
        name: of a loss for all outputs, instead of deriving one for each.

    Raises:
        DataError: if there are no labels, or they do not fit an output.
        RecipeError: if tf_keras knows no such loss.
    """
    if dataset.training is None or not dataset.training.outputs:
        raise DataError(
            f"the data {dataset.source} has no labels to train on",
            "give labelled training data, or a recipe without training steps",
        )
    labels = match(dataset.training.outputs, list(model.output_names))
    losses = []
    for tensor, (output, values) in zip(model.outputs, labels.items(), strict=True):
        activation = last_activation(tensor)
        if name != AUTO:
            losses.append(named_loss(output, name, activation))
        else:
            losses.append(choose_loss(output, activation, tuple(tensor.shape[1:]), values))
    return Objective(tuple(losses))


def named_loss(output: str, name: str, activation: str) -> Loss:
    """A loss that the user named; logits are still read off the activation."""
    try:
        keras.tf_keras().losses.get(name)
    except ValueError as error:
        raise RecipeError(
            f"tf_keras has no loss {name!r}", "try mse, mae, huber or categorical_crossentropy"
        ) from error
    return Loss(output, name, name.endswith("crossentropy") and not _is_probability(activation))


def choose_loss(
    output: str, activation: str, shape: tuple[int | None, ...], labels: np.ndarray[Any, Any]
) -> Loss:
    """The loss for an output.

    Args:
        output: its name.
        activation: the word for the last activation, such as ``softmax``.
        shape: of the output, without batch.
        labels: ``[n, ...]``.

    Raises:
        DataError: if no loss compares such labels with such an output.
    """
    logits = not _is_probability(activation)
    one_each = labels.shape[1:] in (tuple(shape[:-1]), (*shape[:-1], 1))
    classes = labels.dtype.kind in "iub"
    if shape[-1] == 1 and one_each:
        binary = activation == "sigmoid" or (classes and _is_binary(labels))
        return Loss(output, "binary_crossentropy", logits) if binary else Loss(output, "mse")
    if one_each and classes:
        return Loss(output, "sparse_categorical_crossentropy", logits)
    if labels.ndim != len(shape) + 1 or labels.shape[-1] != shape[-1]:
        raise DataError(
            f"labels of shape {labels.shape[1:]} and type {labels.dtype} do not fit output"
            f" {output!r} of shape {shape}",
            "give class numbers as integers, or targets of the output's shape",
        )
    if activation == "sigmoid":
        return Loss(output, "binary_crossentropy")
    one_hot = _is_binary(labels) and bool(np.all(labels.sum(-1) == 1))
    if activation == "softmax" or (one_hot and logits):
        return Loss(output, "categorical_crossentropy", logits)
    return Loss(output, "mse")


def _is_probability(activation: str) -> bool:
    return activation in ("softmax", "sigmoid")


def _is_binary(labels: np.ndarray[Any, Any]) -> bool:
    return bool(np.all((labels == 0) | (labels == 1)))


def last_activation(tensor: Any) -> str:
    """The word for the activation that made a Keras tensor; ``linear`` where there is none."""
    wrapper = tensor._keras_history.layer
    layer = plain(wrapper)
    if type(layer).__name__ == "Softmax":
        return "softmax"
    if hasattr(layer, "_nodes_by_depth"):
        return last_activation(layer.outputs[tensor._keras_history.tensor_index])
    activation = getattr(layer, "activation", None)
    activation = getattr(activation, "activation", activation)
    name: str = getattr(activation, "__name__", "linear")
    passes = name == "linear" and type(layer).__name__ in (*PASSING, "Activation")
    node = wrapper.inbound_nodes[tensor._keras_history.node_index]
    return last_activation(node.input_tensors) if passes else name


def as_labels(labels: Mapping[str, np.ndarray[Any, Any]], objective: Objective) -> list[Any]:
    """A batch of labels in the order of the outputs, of a type that losses take."""
    return [
        labels[loss.output].astype(np.int64 if loss.name.startswith("sparse") else np.float32)
        for loss in objective.losses
    ]
