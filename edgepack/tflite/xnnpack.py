"""Tells which layers of a float .tflite a board's runtime would compute sparsely, and why not.

The rules are those of ``xnn_subgraph_rewrite_for_nchw`` in XNNPACK: from a first convolution to the
global average pooling every operator must fit, or none is computed sparsely. Release builds print
nothing about it, so they are checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.target import Target
from edgepack.tflite.flatbuffer import Graph, Operator

SPARSE_SINCE = {"ai-edge-litert": (2, 3)}
"""Runtimes that were seen to compute sparsely on Arm; tflite-runtime 2.14 never does."""

ENOUGH = 2 / 3
"""More zeros than this, over all 1x1 convolutions together, make XNNPACK switch."""

ENCODED = 0.3
"""With fewer zeros the converter keeps a weight dense."""

FITTING = frozenset(
    {"ADD", "SUB", "MUL", "ABS", "NEG", "RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "LEAKY_RELU"}
    | {"PRELU", "SQUARE", "PAD", "RESIZE_BILINEAR", "DEPTH_TO_SPACE", "MEAN", "ELU"}
)
"""Operators besides convolutions that have a kernel for channels-first data."""


@dataclass(frozen=True)
class Acceptance:
    """What a runtime would compute sparsely.

    Attributes:
        layers: the layers that it would.
        reasons: why others, which have zeros, would not.
    """

    layers: tuple[str, ...]
    reasons: tuple[str, ...]


def accepted(graph: Graph, target: Target) -> Acceptance:
    """Judge a float graph whose weights are not yet encoded sparsely.

    Args:
        graph: of the dense conversion.
        target: the board; its architecture and runtime decide about convolutions.
    """
    dense = [
        o for o in graph.operators if o.code == "FULLY_CONNECTED" and _zeros(graph, o) > ENCODED
    ]
    layers, reasons = [_title(o) for o in dense], []
    convolutions = [o for o in graph.operators if _is_pointwise(graph, o)]
    reason = _runtime_reason(target) or _graph_reason(graph, convolutions)
    if reason:
        reasons.append(f"convolutions: {reason}")
    else:
        layers += [_title(o) for o in convolutions]
    return Acceptance(tuple(layers), tuple(reasons))


def _runtime_reason(target: Target) -> str:
    since = SPARSE_SINCE.get(target.runtime_package)
    version = tuple(int(part) for part in target.runtime_version.split(".")[:2] if part.isdigit())
    if target.architecture not in ("aarch64", "armv7l"):
        return f"XNNPACK has no sparse kernels for {target.architecture} in this runtime"
    if since is None or version < since:
        return f"{target.runtime_package} {target.runtime_version} never computes sparsely"
    return ""


def _graph_reason(graph: Graph, convolutions: list[Operator]) -> str:
    """Why XNNPACK would leave a graph dense; empty if it would not."""
    if not convolutions:
        return "there is no 1x1 convolution of stride 1"
    zeros = float(np.mean(np.concatenate([_kernel(graph, o).ravel() == 0 for o in convolutions])))
    if zeros <= ENOUGH:
        return f"{zeros:.0%} of their weights are zero, not more than two thirds"
    ends = [o.index for o in graph.operators if o.code == "MEAN"]
    if not ends:
        return "the model has no global average pooling"
    body = [o for o in graph.operators if o.index <= max(ends)]
    unfit = [o for o in body if not _fits(graph, o)]
    if unfit:
        return f"{_title(unfit[0])} ({unfit[0].code}) does not fit, so all of them stay dense"
    if not any(_is_first(graph, o) for o in body):
        return "the model does not begin with a 3x3 convolution of stride 2 on 3 channels"
    return ""


def _fits(graph: Graph, operator: Operator) -> bool:
    if operator.code == "CONV_2D":
        return _is_pointwise(graph, operator) or _is_first(graph, operator)
    if operator.code != "DEPTHWISE_CONV_2D":
        return operator.code in FITTING
    _, height, width, _ = _kernel(graph, operator).shape
    stride, padding = operator.options["stride_h"], operator.options["padding"]
    padded = "SAME" if stride == 1 else "VALID"
    return height == width and height in (3, 5) and stride in (1, 2) and padding == padded


def _is_pointwise(graph: Graph, operator: Operator) -> bool:
    if operator.code != "CONV_2D" or operator.options["stride_h"] != 1:
        return False
    return _kernel(graph, operator).shape[1:3] == (1, 1)


def _is_first(graph: Graph, operator: Operator) -> bool:
    return (
        operator.code == "CONV_2D"
        and operator.options["stride_h"] == 2
        and _kernel(graph, operator).shape[1:] == (3, 3, 3)
    )


def _kernel(graph: Graph, operator: Operator) -> NDArray[Any]:
    return graph.values(graph.tensors[operator.inputs[1]])


def _zeros(graph: Graph, operator: Operator) -> float:
    if not graph.tensors[operator.inputs[1]].is_constant:
        return 0.0
    return float(np.mean(_kernel(graph, operator) == 0))


def _title(operator: Operator) -> str:
    return operator.layer or f"operator {operator.index}"
