"""Tells of each operator of a float .tflite whether XNNPACK has a channels-first kernel for it.

Sparse kernels compute on channels-first data. The rules are those of
``xnn_check_nchw_compatibility`` in XNNPACK's src/subgraph.c, after ``xnn_subgraph_fusion`` has
taken paddings into the convolutions that read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edgepack.tflite.subgraph import Graph, Operator, Tensor
from edgepack.tflite.weight_layout import UNWRAPPED, input_of, output_of, weights_of

OPENING, INNER, CLOSING = "opening", "inner", "closing"
"""What an operator can do in a channels-first part: begin it, lie in it, end it."""

BINARY = frozenset({"ADD", "MUL"})

UNARY = frozenset(
    {"ABS", "CEIL", "ELU", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU"}
    | {"RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT", "SQUARE", "TANH"}
)

UNBLOCK = "put the step unblock before the conversion"

FIRST = "only a first convolution may have 3x3 weights: stride 2, 3 input channels, padding 1"

EDITS = {
    "AVERAGE_POOL_2D": "take global average pooling at the end, and stride 2 in a depthwise"
    " convolution elsewhere",
    "MAX_POOL_2D": "take stride 2 in a depthwise convolution in its place",
    "PRELU": "take ReLU in its place",
    "RESHAPE": "end in global average pooling in place of Flatten",
    "SUB": "take ADD of the negative in its place",
}
"""What frees an operator that has no channels-first kernel at all."""


@dataclass(frozen=True)
class Node:
    """One operator as XNNPACK sees it.

    Attributes:
        operator: the operator.
        reads: the tensors that it reads, without constants, past paddings that it has taken in.
        roles: what it can do, of `OPENING`, `INNER` and `CLOSING`; empty where it blocks.
        weight: the constant that it multiplies with; None where it has none.
        rule: what of XNNPACK's rules it breaks; empty where it has a role.
        edit: what would free it.
    """

    operator: Operator
    reads: tuple[int, ...]
    roles: frozenset[str]
    weight: Tensor | None = None
    rule: str = ""
    edit: str = ""


@dataclass(frozen=True)
class Broken:
    """A rule that an operator breaks, and what would free it."""

    rule: str
    edit: str = ""


Verdict = tuple[str, ...] | Broken

Border = tuple[int, int, int, int]
"""Zeros around an image: above, below, left, right."""


def nodes(graph: Graph) -> list[Node]:
    """The operators that XNNPACK computes with, in their order.

    Constants that are unwrapped and paddings that a convolution takes in are none of them.
    """
    weights = {operator.index: tensor for operator, tensor, _ in weights_of(graph)}
    borders = dict(_fused(graph))
    taken = {pad.index for pad, _ in borders.values()}
    return [
        _node(graph, operator, weights.get(operator.index), borders.get(operator.index))
        for operator in graph.operators
        if operator.index not in taken and operator.code not in UNWRAPPED
    ]


def _fused(graph: Graph) -> Iterator[tuple[int, tuple[Operator, Border]]]:
    """For each convolution after a padding that it alone reads: that padding."""
    readers = Counter(i for operator in graph.operators for i in operator.inputs)
    readers.update(graph.outputs)
    pads = {o.outputs[0]: o for o in graph.operators if o.code == "PAD" and o.outputs}
    for operator in graph.operators:
        if operator.code not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        pad = pads.get(operator.inputs[0])
        border = _border(graph, pad) if pad and readers[pad.outputs[0]] == 1 else None
        if pad and border and operator.options.get("padding") == "VALID":
            yield operator.index, (pad, border)


def _border(graph: Graph, pad: Operator) -> Border | None:
    """The border that a padding adds; None where it pads more than height and width."""
    amounts = input_of(graph, pad, 1)
    if amounts is None or not amounts.is_constant or amounts.shape != (4, 2):
        return None
    batch, rows, columns, channels = graph.values(amounts).tolist()
    return None if any((*batch, *channels)) else (*rows, *columns)


def _node(
    graph: Graph, operator: Operator, weight: Tensor | None, fused: tuple[Operator, Border] | None
) -> Node:
    source = fused[0] if fused else operator
    constant = {t.index for t in graph.tensors if t.is_constant}
    made = {o.outputs[0] for o in graph.operators if o.code in UNWRAPPED and o.outputs}
    reads = tuple(i for i in source.inputs if i >= 0 and i not in constant | made)
    verdict = _judge(graph, operator, weight, fused[1] if fused else (0, 0, 0, 0))
    if isinstance(verdict, Broken):
        return Node(operator, reads, frozenset(), weight, verdict.rule, verdict.edit)
    return Node(operator, reads, frozenset(verdict), weight)


def _judge(graph: Graph, operator: Operator, weight: Tensor | None, border: Border) -> Verdict:
    output, code = output_of(graph, operator), operator.code
    if output is None or not output.dtype.startswith("float"):
        return Broken("it does not compute in float", "convert with float32 or float16")
    if weight is not None and not weight.dtype.startswith("float"):
        return Broken(f"its weights are {weight.dtype}", "convert with float32 or float16")
    if code == "CONV_2D" and weight is not None:
        return _convolution(operator, weight, border)
    if code == "DEPTHWISE_CONV_2D" and weight is not None:
        return _depthwise(operator, weight, border)
    if code == "DEPTH_TO_SPACE":
        return (CLOSING,)
    return _elementwise(graph, operator)


def _convolution(operator: Operator, weight: Tensor, border: Border) -> Verdict:
    _, height, width, channels = weight.shape
    if _dilated(operator):
        return Broken("it is dilated", "take dilation 1")
    strides = _strides(operator)
    if (height, width) == (1, 1):
        if any(border):
            return Broken("a 1x1 convolution must have no padding")
        if strides != (1, 1):
            edit = "put the stride into the depthwise convolution before it"
            return Broken(f"a 1x1 convolution must have stride 1, not {_by(strides)}", edit)
        return (INNER,)
    if (height, width, channels) != (3, 3, 3) or strides != (2, 2):
        edit = "take a depthwise and a 1x1 convolution in its place"
        found = f"{height}x{width} weights, stride {_by(strides)}, {channels} input channels"
        return Broken(f"{FIRST}; it has {found}", UNBLOCK if channels == 1 else edit)
    if _padding(operator, border, 3) != (1, 1, 1, 1):
        return Broken(f"{FIRST}; its padding is {_told(operator, border)}", UNBLOCK)
    return (OPENING,)


def _depthwise(operator: Operator, weight: Tensor, border: Border) -> Verdict:
    _, height, width, _ = weight.shape
    strides = _strides(operator)
    if _dilated(operator):
        return Broken("it is dilated", "take dilation 1")
    if operator.options.get("depth_multiplier", 1) not in (0, 1):
        return Broken("its depth multiplier is not 1", "take 1, and more channels before it")
    if height != width or height not in (3, 5):
        return Broken(f"it has {height}x{width} weights, not 3x3 or 5x5", "take 3x3 or 5x5")
    if strides not in ((1, 1), (2, 2)):
        return Broken(f"its stride is {_by(strides)}, not 1 or 2", "take stride 1 or 2")
    if _padding(operator, border, height) != (height // 2,) * 4:
        wanted = f"its padding must be {height // 2} on each side"
        return Broken(f"{wanted}, but is {_told(operator, border)}", UNBLOCK)
    return (INNER,)


def _elementwise(graph: Graph, operator: Operator) -> Verdict:
    code, inputs = operator.code, [t for i in operator.inputs if (t := _at(graph, i))]
    flat = Broken("it computes on other than four dimensions")
    if code == "MEAN":
        axes = input_of(graph, operator, 1)
        known = axes is not None and axes.is_constant
        over = {int(a) % 4 for a in graph.values(axes).ravel()} if known and axes else set()
        return (INNER, CLOSING) if len(inputs[0].shape) == 4 and over == {1, 2} else flat
    if code in BINARY:
        return (INNER,) if all(len(t.shape) == 4 for t in inputs) else flat
    if code in UNARY:
        return (INNER,) if len(inputs[0].shape) == 4 else flat
    if code == "RESIZE_BILINEAR":
        return (INNER,) if min(inputs[0].shape[1:3]) > 1 else flat
    return Broken("it has no channels-first kernel", EDITS.get(code, ""))


def _at(graph: Graph, index: int) -> Tensor | None:
    return graph.tensors[index] if index >= 0 else None


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options["stride_h"], operator.options["stride_w"]


def _by(strides: tuple[int, int]) -> str:
    return str(strides[0]) if strides[0] == strides[1] else "x".join(map(str, strides))


def _dilated(operator: Operator) -> bool:
    return any(operator.options.get(f"dilation_{x}_factor", 1) > 1 for x in "hw")


def _padding(operator: Operator, border: Border, size: int) -> Border | None:
    """The padding as numbers; None where XNNPACK computes it from the input, as with a stride."""
    if operator.options["padding"] == "VALID":
        return border
    half = size // 2
    return (half,) * 4 if _strides(operator) == (1, 1) else None


def _told(operator: Operator, border: Border) -> str:
    if operator.options["padding"] == "VALID":
        return " ".join(map(str, border)) + " (above, below, left, right)"
    return "SAME, which XNNPACK works out from the input where the stride is not 1"
