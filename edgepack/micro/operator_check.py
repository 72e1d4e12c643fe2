"""What of a model TensorFlow Lite Micro cannot run: which operator, why, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.micro.operators import Kernel, instead, kernel
from edgepack.table import printable

if TYPE_CHECKING:
    from edgepack.tflite.flatbuffer import Graph, Operator, Tensor

INT8 = "convert the Keras model with --set convert.quantization=int8"
FLEX = "convert with built-in operators only, as edgepack does: give it the Keras model"
FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
WHOLE = frozenset({"int8", "int16"})
SMALL = frozenset({"int8", "int4", "uint8", "int2"})


@dataclass(frozen=True)
class Refusal:
    """Something of a model that TensorFlow Lite Micro cannot run.

    Attributes:
        operator: its code, such as CONV_2D.
        index: its place in the order of execution, in its graph.
        layer: the layer that it comes from, as far as names tell; empty where they are stripped.
        reason: why it is refused.
        hint: what would help.
    """

    operator: str
    index: int
    layer: str
    reason: str
    hint: str

    @property
    def text(self) -> str:
        """The operator, its layer and the reason, for a message."""
        layer = f" (layer {self.layer})" if self.layer else ""
        return f"{self.operator} {self.index}{layer}: {self.reason}"


def check(graph: Graph) -> tuple[Refusal, ...]:
    """Everything of a model that TensorFlow Lite Micro cannot run; empty where it runs it all.

    A batch that is left open is no reason: TensorFlow Lite Micro does not look at the shape's
    signature and computes one sample at a time.

    Args:
        graph: of the model; the bodies of its loops and branches are checked as well.
    """
    return tuple(
        refusal
        for part in (graph, *graph.bodies)
        for operator in part.operators
        if (refusal := _refusal(part, operator)) is not None
    )


def _refusal(graph: Graph, operator: Operator) -> Refusal | None:
    known = kernel(operator.code)
    if known is None:
        found: tuple[str, str] | None = _missing(operator.code)
    else:
        found = next(_faults(graph, operator, known), None)
    if found is None:
        return None
    layer = printable(operator.layer or operator.label)
    return Refusal(printable(operator.code), operator.index, layer, *found)


def _missing(code: str) -> tuple[str, str]:
    """Why an operator that is not in the table cannot run, and what to use instead."""
    if code.startswith("Flex"):
        return "TensorFlow's own operators exist on no microcontroller", FLEX
    if code == "edgetpu-custom-op":
        return "the model is compiled for an Edge TPU", "give the .tflite from before edgetpu"
    other = instead(code)
    if code.isupper():
        hint = f"use {other} in the model" if other else "replace it in the model, or leave it out"
        return "TensorFlow Lite Micro does not have this operator", hint
    return "a custom operator that TensorFlow Lite Micro does not have", "replace it in the model"


def _faults(graph: Graph, operator: Operator, known: Kernel) -> Iterator[tuple[str, str]]:
    inputs = [graph.tensors[i] if i >= 0 else None for i in operator.inputs]
    outputs = [graph.tensors[i] for i in operator.outputs if i >= 0]
    for tensor in (*inputs, *outputs):
        if tensor is not None:
            yield from _of_tensor(tensor, graph)
    yield from _of_types(inputs, outputs, known)
    yield from _of_inputs(inputs, known)
    if operator.version > known.version:
        yield (
            f"its version {operator.version} is newer than {known.version}, the newest known",
            "convert with the TensorFlow that edgepack installs",
        )


def _of_tensor(tensor: Tensor, graph: Graph) -> Iterator[tuple[str, str]]:
    name = f"tensor {tensor.index}"
    if tensor.dtype == "string":
        yield f"{name} holds text", "turn text into numbers before the model"
    if tensor.dtype == "variant":
        yield f"{name} is a list of tensors, as a loop has", "make the layer with unroll=True"
    if tensor.sparsity is not None:
        yield (
            f"the weights {tensor.name!r} are encoded sparsely",
            "convert with --set convert.sparse=false",
        )
    if any(n < 0 for n in tensor.shape):
        yield _open(name, tensor)
    elif tensor.index in graph.inputs and any(place > 0 for place in tensor.open_at):
        yield _open(f"input {tensor.name!r}", tensor)


def _open(name: str, tensor: Tensor) -> tuple[str, str]:
    places = set(tensor.open_at)
    shape = ["?" if place in places else n for place, n in enumerate(tensor.shape)]
    shown = "x".join(map(str, shape))
    hint = "give every input a shape in the model, such as keras.Input((49, 10))"
    only_batch = "convert with --set convert.batch=1"
    return f"{name} is {shown}, open until run time", only_batch if places == {0} else hint


def _of_types(
    inputs: list[Tensor | None], outputs: list[Tensor], known: Kernel
) -> Iterator[tuple[str, str]]:
    before = ["-" if tensor is None else tensor.dtype for tensor in inputs]
    after = [tensor.dtype for tensor in outputs]
    if any(form.takes(before, after) for form in known.forms):
        return
    constants = {t.dtype for t in inputs if t is not None and t.is_constant}
    arrays = {t.dtype for t in inputs if t is not None and not t.is_constant}
    if "float16" in before:
        yield "its weights are 16-bit floats", f"{INT8}, or float32"
    elif arrays & FLOATS and constants & SMALL:
        yield "its weights are in 8 bits but what goes in is float (dynamic range)", INT8
    elif "uint8" in before:
        yield _unsuitable(before, after, known), "convert again, with signed 8 bits: " + INT8
    else:
        yield _unsuitable(before, after, known), f"{INT8}, or change the layer"


def _unsuitable(before: list[str], after: list[str], known: Kernel) -> str:
    takes = "; ".join(form.text for form in known.forms)
    given = f"{' '.join(before)} -> {' '.join(after)}"
    return f"it is {given}, and TensorFlow Lite Micro's kernel takes {takes}"


def _of_inputs(inputs: list[Tensor | None], known: Kernel) -> Iterator[tuple[str, str]]:
    for place in known.constants:
        tensor = inputs[place] if place < len(inputs) else None
        if tensor is not None and not tensor.is_constant:
            yield (
                f"its input {place} is computed at run time, and must be a constant here",
                "give the layer fixed shapes: convert with --set convert.batch=1",
            )
    for place in known.present:
        if place < len(inputs) and inputs[place] is None:
            yield (
                f"its bias (input {place}) is left out, and TensorFlow Lite Micro reads it",
                "make the layer with use_bias=True",
            )
    for place in known.scaled:
        tensor = inputs[place] if place < len(inputs) else None
        if tensor is not None and tensor.dtype in WHOLE and 0 in tensor.scale:
            yield (
                f"its input {place} has the scale 0, as a constant of zeros may have, and"
                " TensorFlow Lite Micro aborts on that",
                "leave out the layer's constant, such as the center of a normalization",
            )
