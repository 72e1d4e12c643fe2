"""How much scratch memory the kernels of a target ask for, beyond a host's reference kernels.

CMSIS-NN: the ``*_get_buffer_size`` functions of github.com/ARM-software/CMSIS-NN, Source/ (version
5 and later, ``_dsp`` and ``_mve`` variants). ESP-NN: the ``esp_nn_get_*_scratch_size_esp32s3``
functions of github.com/espressif/esp-nn, src/convolution/, which differ from version to version:
the largest of them is taken. Where a library sums the weights of a layer beforehand
(KERNELS_OPTIMIZED_FOR_SPEED), that memory stays for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edgepack.micro.memory_plan import Scratch
from edgepack.tflite.subgraph import Graph, Operator, Tensor

Ends = tuple[list[Tensor], list[Tensor]]
"""An operator's inputs and outputs; one that is left out is missing, and it is always the last."""


@dataclass(frozen=True)
class Extra:
    """What kernels ask for.

    Attributes:
        scratch: bytes that take turns with tensors, by (graph, operator).
        persistent_bytes: bytes that stay.
        unknown: codes of operators that such a library replaces by kernels whose sizes are not
            known here.
    """

    scratch: Scratch
    persistent_bytes: int
    unknown: tuple[str, ...]


def wanted(graph: Graph, kernels: str, features: Collection[str]) -> Extra:
    """What the kernels of a target ask for, those of the reference library included.

    Args:
        graph: of the model.
        kernels: the library: reference, cmsis-nn or esp-nn.
        features: of the core: dsp and helium choose variants of CMSIS-NN.
    """
    sizes = _chosen(kernels, features)
    scratch: dict[tuple[int, int], list[int]] = {}
    persistent, unknown = 0, set()
    for which, one in enumerate((graph, *graph.bodies)):
        for operator in one.operators:
            asked = list(_reference(one, operator))
            if operator.code in sizes and _is_quantized(one, operator):
                size = sizes[operator.code](operator, _ends(one, operator))
                asked += [size] if size > 0 else []
            if "helium" in features and kernels == "cmsis-nn":
                persistent += _weight_sums(one, operator)
            if operator.code in UNKNOWN.get(kernels, ()):
                unknown.add(operator.code)
            if asked:
                scratch[which, operator.index] = asked
    return Extra(scratch, persistent, tuple(sorted(unknown)))


def _chosen(kernels: str, features: Collection[str]) -> dict[str, Callable[[Operator, Ends], int]]:
    if kernels == "esp-nn":
        return {"CONV_2D": _esp_convolution, "DEPTHWISE_CONV_2D": _esp_depthwise}
    if kernels != "cmsis-nn":
        return {}
    if "helium" in features:
        return {
            "CONV_2D": _helium_convolution,
            "DEPTHWISE_CONV_2D": _helium_depthwise,
            "TRANSPOSE_CONV": _transposed,
        }
    return {
        "CONV_2D": _dsp_convolution,
        "DEPTHWISE_CONV_2D": _dsp_depthwise,
        "AVERAGE_POOL_2D": _dsp_average,
        "TRANSPOSE_CONV": _transposed,
    }


UNKNOWN = {
    "cmsis-nn": ("BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    "esp-nn": ("BATCH_MATMUL",),
}


def _ends(graph: Graph, operator: Operator) -> Ends:
    tensors = graph.tensors
    inputs = [tensors[i] for i in operator.inputs if i >= 0]
    return inputs, [tensors[i] for i in operator.outputs]


def _is_quantized(graph: Graph, operator: Operator) -> bool:
    inputs, outputs = _ends(graph, operator)
    start = 1 if operator.code == "TRANSPOSE_CONV" else 0
    pictures = [*inputs[start : start + 2], *outputs[:1]]
    is_whole = len(pictures) == 3 and all(len(t.shape) == 4 for t in pictures)
    return is_whole and pictures[0].dtype != "float32"


def _reference(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """What the reference kernel asks for too: known of SVDF, whose sums take 4 bytes each."""
    inputs, outputs = _ends(graph, operator)
    if operator.code != "SVDF" or not _has_matrix(inputs):
        return ()
    batch = inputs[0].shape[0]
    filters = batch * inputs[1].shape[0] * 4
    return (
        (filters,) if inputs[0].dtype == "float32" else (filters, math.prod(outputs[0].shape) * 4)
    )


def _weight_sums(graph: Graph, operator: Operator) -> int:
    """Of arm_fully_connected_s8 and arm_svdf_s8 with vectors: 4 bytes for each row of weights."""
    inputs, _ = _ends(graph, operator)
    if operator.code not in ("FULLY_CONNECTED", "SVDF") or not _has_matrix(inputs):
        return 0
    return 0 if inputs[0].dtype == "float32" else inputs[1].shape[0] * 4 + 16


def _has_matrix(inputs: list[Tensor]) -> bool:
    return len(inputs) > 1 and all(len(t.shape) >= 1 for t in inputs[:2])


def _window(weights: Tensor, depth: int) -> int:
    _, height, width, _ = weights.shape
    return height * width * depth


def _is_pointwise(operator: Operator, weights: Tensor) -> bool:
    strides = operator.options.get("stride_h", 1), operator.options.get("stride_w", 1)
    return bool(weights.shape[1:3] == (1, 1) and strides == (1, 1))


def _dsp_convolution(operator: Operator, ends: Ends) -> int:
    """Of arm_convolve_wrapper_s8 and _s16: two columns of 16-bit numbers, padded to four."""
    (x, weights, *_), _ = ends
    if _is_pointwise(operator, weights) and x.dtype == "int8":
        return 4 * x.shape[3]  # With Arm's compiler; nothing with gcc.
    return 4 * (-(-_window(weights, x.shape[3]) // 4) * 4)


def _helium_convolution(operator: Operator, ends: Ends) -> int:
    """Of arm_convolve_wrapper_s8: four columns of bytes, padded to vectors."""
    (x, weights, *_), _ = ends
    if _is_pointwise(operator, weights):
        return 0
    return 4 * (-(-_window(weights, x.shape[3]) // 16) * 16)


def _dsp_depthwise(operator: Operator, ends: Ends) -> int:
    """Of arm_depthwise_conv_wrapper_s8 and _s16: a window of 16-bit numbers."""
    (x, weights, *_), (y, *_) = ends
    is_small = weights.shape[1:3] == (3, 3) and x.dtype == "int8"
    if is_small or _is_dilated(operator) or x.shape[3] != y.shape[3]:
        return 0
    return 2 * _window(weights, x.shape[3])


def _helium_depthwise(operator: Operator, ends: Ends) -> int:
    """Of arm_depthwise_conv_wrapper_s8: four windows of CH_IN_BLOCK_MVE channels; _s16: of all."""
    (x, weights, *_), (y, *_) = ends
    if _is_dilated(operator) or x.shape[3] != y.shape[3]:
        return 0
    if x.dtype == "int8":
        return 4 * _window(weights, 124)
    return 8 * _window(weights, x.shape[3]) + 8


def _is_dilated(operator: Operator) -> bool:
    return any(operator.options.get(f"dilation_{a}_factor", 1) > 1 for a in "wh")


def _dsp_average(_: Operator, ends: Ends) -> int:
    """Of arm_avgpool_s8: a sum for each channel."""
    return 4 * ends[0][0].shape[3]


def _transposed(operator: Operator, ends: Ends) -> int:
    """Of arm_transpose_conv_s8: rows of 32-bit sums, or a convolution the other way round."""
    weights, x = ends[0][1], ends[0][2]
    (y,) = ends[1]
    stride_h, stride_w = (int(operator.options.get(f"stride_{a}", 1)) for a in "hw")
    width = (x.shape[2] - 1) * stride_w + max(weights.shape[2], stride_h)
    rows = 4 * width * y.shape[3] * max(weights.shape[1], stride_h)
    reversed_weights = math.prod(weights.shape)
    columns = 4 * (-(-_window(weights, x.shape[3]) // 16) * 16)
    return max(rows, columns + reversed_weights)


def _esp_convolution(operator: Operator, ends: Ends) -> int:
    """Two aligned copies of the weights, two of the padded input, and sums."""
    (x, weights, *_), (y, *_) = ends
    height, width, depth = x.shape[1:]
    out = y.shape[3]
    if _is_pointwise(operator, weights):
        aligned = -(-depth // 8) * 8
        copies = height * width * aligned * (depth % 8 > 0) + aligned * (out + 16)
        panel = (24 * depth + (1 << 14)) * (depth * out > 24 << 10)
        return max(copies, panel, 24 * depth + 8 * out) + 64
    rows, columns = weights.shape[1:3]
    padded = (height + rows) * (width + columns) * depth
    row = -(-columns * depth // 16) * 16
    channels = rows * columns * -(-depth // 16) * 16
    return 2 * padded + (row * rows + channels + 4) * out + 64


def _esp_depthwise(operator: Operator, ends: Ends) -> int:
    """16-bit copies of the weights and the input; where channels are padded, of the output too."""
    (x, weights, *_), (y, *_) = ends
    height, width, depth = x.shape[1:]
    rows, columns = weights.shape[1:3]
    if operator.options.get("depth_multiplier", 1) > 1 or y.shape[3] != depth:
        return 2 * (rows * columns * y.shape[3] + height * width * depth) + 32
    channels = -(-depth // 16) * 16
    padded = (height + rows) * (width + columns) * channels
    outcome = (math.prod(y.shape[1:3]) + 12) * channels * (depth != channels)
    copies = 2 * (rows * columns + height * width) * channels
    return max(copies, rows * columns * channels + padded) + outcome + 112
