"""Walks the operators of a .tflite and makes a layer of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgepack import keras
from edgepack.errors import EdgepackError, StepError
from edgepack.network.operations import symbolic
from edgepack.table import printable
from edgepack.tflite.signature import ends
from edgepack.tflite.subgraph import Graph, Operator
from edgepack.thawing.builders import builders
from edgepack.thawing.call import Call, Scene, UnsuitableError, batch_axis, bounded
from edgepack.thawing.names import Names, allowed
from edgepack.thawing.obstacles import named, obstacles

FROZEN = "take a frozen recipe: mcu-frozen-int8 for a microcontroller, else --recipe frozen-int8"
SHOWN = 160
"""Characters of a library's words that a message repeats."""


@dataclass(frozen=True)
class Rebuilt:
    """A rebuilt model.

    Attributes:
        model: of tf_keras, with an open batch.
        values: of the source's tensors by index: tensors of the model, or constants.
        fixed: constants that are no weights.
        parted: operators that shared their weights with another, and have their own now.
    """

    model: Any
    values: dict[int, Any]
    fixed: list[str]
    parted: list[str]


def refusal(reasons: Iterable[str]) -> StepError:
    """The error for what cannot be rebuilt."""
    return StepError(f"cannot be made trainable: {', '.join(reasons)}", FROZEN)


def rebuild(graph: Graph) -> Rebuilt:
    """A graph as a flat functional tf_keras model; what it computes is not proved yet.

    Raises:
        StepError: naming the operators that cannot be rebuilt.
    """
    if reasons := obstacles(graph):
        raise refusal(reasons)
    tensors = ends(graph)
    inputs, outputs = ([*map(allowed, tensors[which])] for which in ("inputs", "outputs"))
    scene = Scene(graph, Names(graph, {*inputs, *outputs}))
    given = [_input(scene, i, n) for i, n in zip(tensors["inputs"].values(), inputs, strict=True)]
    for operator in graph.operators:
        if operator.index not in scene.done:
            _build(scene, operator)
    made = [_output(scene, i, n) for i, n in zip(tensors["outputs"].values(), outputs, strict=True)]
    return Rebuilt(_model(given, made), scene.values, scene.fixed, scene.parted)


def _model(inputs: list[Any], outputs: list[Any]) -> Any:
    try:
        return keras.tf_keras().Model(inputs, outputs)
    except RecursionError as error:
        raise refusal(["more layers follow one another than Keras can hold"]) from error


def _input(scene: Scene, index: int, name: str) -> Any:
    tensor = scene.graph.tensors[index]
    shape = bounded([max(1, n) for n in tensor.shape[1:]])
    made = keras.tf_keras().Input(shape, dtype=tensor.dtype, name=name)
    scene.values[index] = made
    return made


def _output(scene: Scene, index: int, name: str) -> Any:
    found: Any = scene.values.get(index)
    if not symbolic(found):
        raise refusal([f"the output {name!r} does not depend on the input"])
    if batch_axis(found) != 0:
        raise refusal([f"the output {name!r} does not have its batch first"])
    layer = keras.tf_keras().layers.Activation
    return layer("linear", name=name, dtype=found.dtype)(found)


def _build(scene: Scene, operator: Operator) -> None:
    """Make one operator, and note what it gives."""
    try:
        call = Call(scene, operator, [scene.value(i) for i in operator.inputs])
        made = builders()[operator.code](call)
        flat = made if isinstance(made, list) else [made]
        _note(scene, call.last, flat)
    except UnsuitableError as error:
        raise refusal([f"{named(operator)}: {error}"]) from error
    except EdgepackError:
        raise
    except Exception as error:
        # A fence: what TensorFlow makes of a graph that does not fit together has no one type.
        reason = printable(" ".join(str(error).split()))[:SHOWN]
        raise refusal([f"{named(operator)}: {reason}"]) from error


def _note(scene: Scene, operator: Operator, made: list[Any]) -> None:
    if len(made) != len(operator.outputs):
        raise UnsuitableError(f"it has {len(operator.outputs)} outputs instead of {len(made)}")
    for index, value in zip(operator.outputs, made, strict=True):
        scene.note(index, value)
