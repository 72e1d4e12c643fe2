"""Brings a model's inputs and outputs into the order, and under the names, of another model's."""

from __future__ import annotations

from typing import Any

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.graph import copy_layer, rebuild
from edgepack.network.walk import Signature, inputs_of, outputs_of


def align(model: Any, like: Any, title: str, further: tuple[Any, ...] = ()) -> Any:
    """The same layers, with inputs and outputs in the order of another model's.

    They are matched by their names where these are the same, else by their order.

    Args:
        model: a flat tf_keras model.
        like: another one.
        title: what the model is called where it does not fit, such as ``teacher``.
        further: tensors of the model that become outputs after the others.

    Raises:
        StepError: if their numbers or shapes differ.
    """
    inputs = _order(inputs_of(model), inputs_of(like), title, "inputs")
    outputs = _order(outputs_of(model), outputs_of(like), title, "outputs")
    return keras.tf_keras().Model(
        [model.inputs[i] for i in inputs],
        [*(model.outputs[i] for i in outputs), *further],
        name=model.name,
    )


def rename(model: Any, like: Any, title: str) -> Any:
    """A flat copy with the names of another model's inputs and outputs; see `align`."""
    named = align(model, like, title)
    ends = [[(n, d) for n, _, d in found(like)] for found in (inputs_of, outputs_of)]
    if [[(n, d) for n, _, d in found(named)] for found in (inputs_of, outputs_of)] == ends:
        return named
    nest, layers = keras.tensorflow().nest, keras.tf_keras().layers
    inputs = [layers.Input(batch_shape=x, dtype=d, name=n) for n, x, d in inputs_of(like)]
    made = nest.flatten(named(inputs if len(inputs) > 1 else inputs[0]))
    outputs = [
        layers.Activation("linear", name=name, dtype=kind)(tensor)
        for (name, kind), tensor in zip(ends[1], made, strict=True)
    ]
    return rebuild(keras.tf_keras().Model(inputs, outputs, name=like.name), copy_layer)


def _order(own: Signature, wanted: Signature, title: str, which: str) -> list[int]:
    """The position of each wanted one."""
    names = [name for name, _, _ in own]
    order = list(range(len(own)))
    if sorted(names) == sorted(name for name, _, _ in wanted):
        order = [names.index(name) for name, _, _ in wanted]
    shapes = [own[i][1] for i in order]
    if len(own) != len(wanted) or not all(
        _fits(a, b) for a, (_, b, _) in zip(shapes, wanted, strict=True)
    ):
        raise StepError(
            f"the {title} has the {which} {_words(own)}, the model in hand {_words(wanted)}",
            f"give a {title} with the same shapes; names and all else may differ",
        )
    return order


def _fits(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    """Whether two shapes agree in all but the batch, as far as both are known."""
    if len(a) != len(b):
        return False
    return all(x == y or None in (x, y) for x, y in zip(a[1:], b[1:], strict=True))


def _words(found: Signature) -> str:
    return ", ".join(f"{name} {list(shape[1:])}" for name, shape, _ in found)
