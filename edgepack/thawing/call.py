"""One operator on its way to a layer: what it reads, what it makes, what all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.tflite.subgraph import Graph, Operator, Tensor
from edgepack.thawing.names import Names

MOST_VALUES = 1 << 27
"""Of one sample of a tensor; larger ones than those of real models would exhaust memory."""

Builder = Callable[["Call"], Any]
"""Given a call: the output, or a list of the outputs, as tensors or arrays."""

Activate = Callable[["Call", Any], Any]


class UnsuitableError(Exception):
    """What a builder raises where an operator means something that no layer does."""


@dataclass
class Scene:
    """What the calls of one graph share.

    Attributes:
        graph: the source.
        names: of layers.
        values: of tensors by index: tensors of the new model, or arrays where they are constant.
        readers: the operators that read a tensor, by its index.
        layers: that operators with the same weights share, by what makes them equal.
        outputs: of shared layers, by layer and input.
        done: operators that one before them has taken in.
        fixed: constants that are no weights.
        parted: operators that shared their weights with another, and have their own now.
        room: values that computed constants may still have together.
    """

    graph: Graph
    names: Names
    values: dict[int, Any] = field(default_factory=dict)
    readers: dict[int, list[Operator]] = field(default_factory=dict)
    layers: dict[Any, Any] = field(default_factory=dict)
    outputs: dict[Any, Any] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    fixed: list[str] = field(default_factory=list)
    parted: list[str] = field(default_factory=list)
    room: int = MOST_VALUES

    def __post_init__(self) -> None:
        for operator in self.graph.operators:
            for index in operator.inputs:
                self.readers.setdefault(index, []).append(operator)

    def constant(self, index: int) -> NDArray[Any] | None:
        """The values of a constant tensor; None where it is computed at run time."""
        if index >= 0 and index not in self.values and self.graph.tensors[index].is_constant:
            self.values[index] = self.graph.values(self.graph.tensors[index])
        found = self.values.get(index)
        return found if isinstance(found, np.ndarray) else None

    def value(self, index: int) -> Any:
        """A tensor's value; None where it is left out."""
        if index < 0:
            return None
        found = self.constant(index)
        if self.graph.tensors[index].is_variable:
            return None
        if found is None and index not in self.values:
            raise UnsuitableError(f"tensor {index} is read before anything computes it")
        return self.values[index] if found is None else found

    def note(self, index: int, value: Any) -> None:
        """Keep what an operator gives for a tensor; UnsuitableError where it is absurdly large."""
        bounded([n or 1 for n in value.shape])
        if not symbolic(value):
            value = np.asarray(value)
            self.room -= value.size
        if self.room < 0:
            raise UnsuitableError(f"constants of more than {MOST_VALUES} values are computed")
        self.values[index] = value

    def is_shared(self, index: int) -> bool:
        """Whether several operators read a tensor, such as weights of a layer called twice."""
        return len(self.readers.get(index, [])) > 1

    def sole_reader(self, index: int) -> Operator | None:
        """The operator that reads a tensor, if it is the only one and it is no output."""
        readers = self.readers.get(index, [])
        return readers[0] if len(readers) == 1 and index not in self.graph.outputs else None


@dataclass
class Call:
    """One operator.

    Attributes:
        scene: what it shares with others.
        operator: itself.
        inputs: tensors of the new model, arrays of constants, or None where one is left out.
    """

    scene: Scene
    operator: Operator
    inputs: list[Any]

    def __post_init__(self) -> None:
        self.last = self.operator
        """The operator whose output this call makes: itself, or the last that it has taken in."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The fields of its options."""
        return self.operator.options

    def option(self, name: str, otherwise: Any = 0) -> Any:
        """One of its options, or what it is in a file without options."""
        return self.options.get(name, otherwise)

    def input(self, position: int) -> Any:
        """An input that must be there; UnsuitableError where it is not."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            raise UnsuitableError(f"its input {position} is missing")
        return found

    def constant(self, position: int) -> NDArray[Any]:
        """An input that must be constant; UnsuitableError where it is not."""
        found = self.input(position)
        if not isinstance(found, np.ndarray):
            raise UnsuitableError(f"its input {position} is computed at run time")
        return found

    def integer(self, position: int) -> int:
        """A constant of one integer."""
        return int(self.constant(position).reshape(()))

    def tensor(self, position: int) -> Tensor:
        """An input of the source."""
        return self.scene.graph.tensors[self.operator.inputs[position]]

    def output(self, position: int = 0) -> Tensor:
        """An output of the source."""
        return self.scene.graph.tensors[self.operator.outputs[position]]

    def sizes(self, position: int) -> tuple[int, ...]:
        """The shape of an input for one sample: a batch that is open counts as in the source."""
        return sizes(self.input(position), self.tensor(position))

    def layer(
        self, kind: str, inputs: Any, weights: Sequence[Any] | None = None, **config: Any
    ) -> Any:
        """The output of a new layer of tf_keras.

        Args:
            kind: its class.
            inputs: what it is called on.
            weights: what it holds, in its order.
            config: its settings.
        """
        made = self.make(kind, **config)
        outputs = made(inputs)
        if weights is not None:
            made.set_weights([np.asarray(w) for w in weights])
        return outputs

    def make(self, kind: str, **config: Any) -> Any:
        """A new layer, named after the operator, not called yet."""
        name = self.scene.names.give(self.operator, kind.lower())
        return getattr(keras.tf_keras().layers, kind)(name=name, **config)

    def function(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """What one of TensorFlow's functions gives, as a layer named after the operator."""
        flat = keras.tensorflow().nest.flatten([args, kwargs])
        if not any(symbolic(value) for value in flat):
            return function(*args, **kwargs)
        nest = keras.tensorflow().nest
        first = nest.map_structure(
            lambda v: self._computed(v, next(filter(symbolic, flat))), args[0]
        )
        return self._lambda(function, first, *args[1:], **kwargs)

    def _lambda(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        kind = keras.part("tf_keras.src.layers.core.tf_op_layer").TFOpLambda
        name = self.scene.names.give(self.operator, self.operator.code.lower())
        return kind(function, name=name)(*args, **kwargs)

    def _computed(self, value: Any, like: Any) -> Any:
        """An array as if it were computed: a layer cannot be stored with one as its first input."""
        if symbolic(value) or np.ndim(value) == 0:
            return value
        tf = keras.tensorflow()
        nothing = self._lambda(tf.reduce_sum, self._lambda(tf.zeros_like, like))
        nothing = self._lambda(tf.cast, nothing, str(value.dtype))
        return self._lambda(tf.add, nothing, value)

    def fix(self, what: str) -> None:
        """Note a constant that is no weight."""
        self.scene.fixed.append(f"{what} of {self.shown}")

    @property
    def shown(self) -> str:
        """What it is called in remarks."""
        return self.operator.layer or self.operator.label or self.operator.code


def sizes(value: Any, tensor: Tensor) -> tuple[int, ...]:
    """The shape of a value for the batch of the source.

    Args:
        value: an array, or a tensor of the new model.
        tensor: what it stands for in the source.
    """
    shape = tuple(value.shape)
    if None not in shape:
        return tuple(int(n) for n in shape)
    known = tensor.shape if len(tensor.shape) == len(shape) else (1,) * len(shape)
    pairs = zip(shape, known, strict=True)
    return tuple(max(1, old) if new is None else int(new) for new, old in pairs)


def batch_axis(value: Any) -> int | None:
    """The dimension of a value that is open, as it holds the batch; None where there is none."""
    shape = list(value.shape)
    return shape.index(None) if None in shape else None


def bounded(shape: Sequence[int]) -> list[int]:
    """A shape that a constant is to have; UnsuitableError where it is absurd."""
    found = [int(n) for n in shape]
    if math.prod(abs(n) for n in found) > MOST_VALUES:
        raise UnsuitableError(f"a tensor of shape {found} is too large")
    return found
