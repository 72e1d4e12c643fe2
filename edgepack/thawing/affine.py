"""Constants that scale and shift channels: into the layer before them, or a layer of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.network.operations import symbolic
from edgepack.tflite.subgraph import Operator
from edgepack.thawing.call import Call, Scene

AFFINE = frozenset({"ADD", "SUB", "MUL", "DIV"})
EPSILON = 1e-3
"""Of a layer that normalizes by constants: what is added to its variance."""


@dataclass
class Affine:
    """Channels times a scale plus an offset.

    Attributes:
        scale: of each channel; None: 1.
        offset: of each channel; None: 0.
    """

    scale: NDArray[Any] | None = None
    offset: NDArray[Any] | None = None

    def then(self, code: str, value: NDArray[Any]) -> Affine:
        """With one operator more, applied afterwards."""
        if code in ("MUL", "DIV"):
            factor = value if code == "MUL" else 1 / value
            scaled = factor if self.scale is None else self.scale * factor
            return Affine(scaled, None if self.offset is None else self.offset * factor)
        shift = value if code == "ADD" else -value
        return Affine(self.scale, shift if self.offset is None else self.offset + shift)


def channels(scene: Scene, operator: Operator, before: int, count: int) -> NDArray[Any] | None:
    """The constant by which an operator scales or shifts channels; None where there is none.

    Args:
        scene: of the graph.
        operator: any.
        before: the tensor whose channels they are.
        count: of the channels.
    """
    if operator.code not in AFFINE or len(operator.inputs) != 2:
        return None
    place = operator.inputs.index(before)
    if place == 1 and operator.code in ("SUB", "DIV"):
        return None
    value = scene.constant(operator.inputs[1 - place])
    if value is None or value.dtype.kind != "f" or value.size not in (1, count):
        return None
    fits = value.ndim <= len(scene.graph.tensors[before].shape)
    if not fits or (value.size > 1 and value.shape[-1] != count):
        return None
    return np.broadcast_to(value.reshape(-1), (count,)).astype(np.float32)


def followers(call: Call, count: int, found: Affine | None = None) -> Affine:
    """What the operators after a call do to its channels, as long as they do nothing else.

    They count as done: `call.last` is the last of them.

    Args:
        call: the operator before them; its own activation must have been looked at.
        count: of its channels.
        found: what was found before.
    """
    found = found or Affine()
    while call.last.options.get("fused_activation_function", "NONE") == "NONE":
        index = call.last.outputs[0]
        reader = call.scene.sole_reader(index)
        value = None if reader is None else channels(call.scene, reader, index, count)
        if reader is None or value is None:
            break
        found = found.then(reader.code, value)
        call.scene.done.add(reader.index)
        call.last = reader
    return found


def normalization(call: Call) -> Any:
    """A layer that scales and shifts the channels of an operator's tensor; None where it does not.

    It is a batch normalization by constants, which the converter folds where it can: called as
    when nothing is trained, so that it never looks at a batch, yet its weights can be trained.
    """
    found = _own(call)
    if found is None:
        return None
    x, value = found
    count = int(x.shape[-1])
    affine = followers(call, count, Affine().then(call.operator.code, value))
    config = {"scale": affine.scale is not None, "center": affine.offset is not None}
    layer = call.make("BatchNormalization", epsilon=EPSILON, **config)
    y = layer(x, training=False)
    learnt = [w for w in (affine.scale, affine.offset) if w is not None]
    layer.set_weights([*learnt, np.zeros(count), np.full(count, 1 - EPSILON)])
    return y


def _own(call: Call) -> tuple[Any, NDArray[Any]] | None:
    """The tensor and the constant of an operator of channels, where it is one."""
    for place, x in enumerate(call.inputs[:2]):
        if not symbolic(x) or len(x.shape) < 2 or x.shape[0] is not None or not x.shape[-1]:
            continue
        other = call.inputs[1 - place]
        if symbolic(other) or np.size(other) < 2:
            continue
        value = channels(call.scene, call.operator, call.operator.inputs[place], x.shape[-1])
        if value is not None:
            return x, value
    return None
