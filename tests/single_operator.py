"""Models of one operator, written byte by byte: to try what a runtime takes of each type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

NUMBERS = {name.lower(): n for name, n in vars(schema.TensorType).items() if isinstance(n, int)}
CODES = {name: n for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
QUANTIZED = {"int8", "uint8", "int16", "int4"}


@dataclass(frozen=True)
class Data:
    """A tensor of a model.

    Attributes:
        shape: of it.
        dtype: as `edgepack.tflite.flatbuffer.Tensor` calls it.
        values: of a constant; None where it comes at run time.
        scale: of a quantized one.
        zero_point: of it.
        channels: how many scales, along dimension ``axis``; 0 for a single one.
        axis: of the channels.
        variable: whether it keeps its values.
        signature: the shape with -1 for what is open.
    """

    shape: tuple[int, ...]
    dtype: str
    values: Any = None
    scale: float = 0.1
    zero_point: int = 0
    channels: int = 0
    axis: int = 0
    variable: bool = False
    signature: tuple[int, ...] | None = None


def constant(shape: tuple[int, ...], dtype: str, value: Any = 1, **other: Any) -> Data:
    """A constant of one value, or of as many as it has places."""
    return Data(shape, dtype, np.broadcast_to(np.asarray(value), shape), **other)


def index(*values: int, dtype: str = "int32") -> Data:
    """A constant vector of whole numbers."""
    return Data((len(values),), dtype, np.array(values))


def raw(data: Data) -> Any:
    """The bytes of a constant, as a file stores them."""
    if data.dtype == "int4":
        return np.zeros((math.prod(data.shape) + 1) // 2, np.uint8)
    if data.dtype == "string":
        return np.frombuffer(np.array([1, 12, 15], "<i4").tobytes() + b"abc", np.uint8)
    values = np.ascontiguousarray(data.values, np.dtype(data.dtype).newbyteorder("<"))
    return np.frombuffer(values.tobytes(), np.uint8)


def quantization_of(data: Data, bias: bool) -> Any:
    """Scales for what is quantized; ``bias`` for whole numbers that are sums of products."""
    if data.dtype not in QUANTIZED and not bias:
        return None
    made = schema.QuantizationParametersT()
    count = max(1, data.channels)
    made.scale = np.full(count, data.scale, np.float32)
    made.zeroPoint = np.full(count, data.zero_point, np.int64)
    made.quantizedDimension = data.axis
    return made


def tensor_of(number: int, data: Data, bias: bool, buffers: list[Any]) -> Any:
    """The schema's tensor, its constant put among the buffers."""
    made = schema.TensorT()
    made.name = f"layer/{number}".encode()
    made.shape = np.array(data.shape, np.int32)
    made.type = NUMBERS[data.dtype]
    made.isVariable = data.variable
    made.quantization = quantization_of(data, bias)
    if data.signature is not None:
        made.shapeSignature = np.array(data.signature, np.int32)
    if data.values is not None or data.dtype == "string":
        buffer = schema.BufferT()
        buffer.data = raw(data)
        made.buffer = len(buffers)
        buffers.append(buffer)
    return made


def options_of(code: str, fields: Mapping[str, Any]) -> tuple[Any, int]:
    """The options of an operator and the number of their kind."""
    fields = dict(fields)
    kind = fields.pop("kind", "")
    if not kind:
        return None, 0
    made = getattr(schema, f"{kind}T")()
    for name, value in fields.items():
        assert hasattr(made, name), f"{code}: {kind} has no {name}"
        setattr(made, name, value)
    return made, getattr(schema.BuiltinOptions, kind)


def write(
    code: str,
    inputs: Sequence[Data | None],
    outputs: Sequence[Data],
    options: Mapping[str, Any] | None = None,
    *,
    version: int = 1,
    custom: bytes = b"",
) -> bytes:
    """A model of one operator: inputs that are no constants are its inputs, all outputs its own."""
    buffers = [schema.BufferT()]
    quantized = inputs[0] is not None and inputs[0].dtype in QUANTIZED
    given = [data for data in (*inputs, *outputs) if data is not None]
    biased = code in BIASED and quantized
    tensors = [
        tensor_of(i, data, biased and data.dtype in ("int32", "int64"), buffers)
        for i, data in enumerate(given)
    ]
    here = iter(range(len(given)))
    places = [-1 if data is None else next(here) for data in inputs]
    graph, operator, model = schema.SubGraphT(), schema.OperatorT(), schema.ModelT()
    operator.inputs = np.array(places, np.int32)
    operator.outputs = np.array(list(here), np.int32)
    operator.builtinOptions, operator.builtinOptionsType = options_of(code, options or {})
    opcode = schema.OperatorCodeT()
    number = CODES.get(code, CODES["CUSTOM"])
    opcode.builtinCode, opcode.deprecatedBuiltinCode = number, min(number, 127)
    opcode.customCode = code.encode() if code not in CODES else None
    opcode.version = version
    if custom:
        operator.customOptions = np.frombuffer(custom, np.uint8)
    graph.tensors, graph.operators = tensors, [operator]
    at_run_time = [
        place
        for place, data in zip(places, inputs, strict=True)
        if data is not None and data.values is None and not data.variable
    ]
    graph.inputs = np.array(at_run_time, np.int32)
    graph.outputs = operator.outputs
    model.version, model.operatorCodes, model.subgraphs, model.buffers = (
        3,
        [opcode],
        [graph],
        buffers,
    )
    writer = flatbuffers.Builder(1024)
    writer.Finish(model.Pack(writer), b"TFL3")
    return bytes(writer.Output())


BIASED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
SAME = [
    "ABS",
    "CEIL",
    "COS",
    "ELU",
    "EXP",
    "FLOOR",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
    "LOGICAL_NOT",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "L2_NORMALIZATION",
    "NEG",
    "RELU",
    "RELU6",
    "ROUND",
    "RSQRT",
    "SIN",
    "SOFTMAX",
    "SQRT",
    "SQUARE",
    "TANH",
    "ZEROS_LIKE",
]
TWO = [
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MAXIMUM",
    "MINIMUM",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "SQUARED_DIFFERENCE",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "PRELU",
    "ADD_N",
]
COMPARE = ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]
REDUCE = ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"]
KINDS = {
    "LEAKY_RELU": "LeakyReluOptions",
    "SOFTMAX": "SoftmaxOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
}
FIXED = {
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
}
"""Scale and zero point that an operator's output must have."""


@dataclass(frozen=True)
class Made:
    """A model of one operator with the types that it was made of."""

    code: str
    types: str
    model: bytes


def made(
    code: str,
    inputs: Sequence[Data | None],
    outputs: Sequence[Data],
    options: Mapping[str, Any] | None = None,
) -> Made:
    """The model, and its types as the table of operators writes them."""
    ins = " ".join("-" if data is None else data.dtype for data in inputs)
    types = f"{ins} -> {' '.join(data.dtype for data in outputs)}"
    return Made(code, types, write(code, inputs, outputs, options))


def elementwise(code: str, dtype: str) -> Made:
    """A model of an operator that works value by value, or is written alike."""
    x = Data((1, 4), dtype)
    scale, zero = FIXED.get((code, dtype), (x.scale, x.zero_point))
    out = replace(x, scale=scale, zero_point=zero)
    options = {"kind": KINDS[code]} if code in KINDS else None
    if code == "SOFTMAX":
        options = {"kind": "SoftmaxOptions", "beta": 1.0}
    if code in SAME:
        return made(code, [x], [out], options)
    other = constant((1, 4), dtype) if code == "PRELU" else Data((1, 4), dtype)
    return made(code, [x, other], [Data((1, 4), "bool") if code in COMPARE else out], options)


def reduction(code: str, dtype: str) -> Made:
    """A model that reduces the last dimension."""
    x = Data((2, 4), dtype)
    options = {"kind": "ReducerOptions", "keepDims": False}
    return made(code, [x, index(1)], [Data((2,), dtype)], options)


def shaping(code: str, dtype: str) -> Made:
    """A model that moves values without changing them."""
    x = Data((1, 2, 2, 4), dtype)
    row = Data((4,), dtype)
    table: dict[str, tuple[list[Data | None], list[Data], dict[str, Any] | None]] = {
        "RESHAPE": ([x, index(1, 16)], [Data((1, 16), dtype)], None),
        "TRANSPOSE": ([x, index(0, 2, 1, 3)], [x], None),
        "PAD": ([Data((1, 4), dtype), grid((0, 0), (1, 1))], [Data((1, 6), dtype)], None),
        "PADV2": (
            [Data((1, 4), dtype), grid((0, 0), (1, 1)), constant((), dtype)],
            [Data((1, 6), dtype)],
            None,
        ),
        "MIRROR_PAD": (
            [Data((1, 4), dtype), grid((0, 0), (1, 1))],
            [Data((1, 6), dtype)],
            {"kind": "MirrorPadOptions", "mode": 0},
        ),
        "CONCATENATION": (
            [Data((1, 4), dtype), Data((1, 4), dtype)],
            [Data((1, 8), dtype)],
            {"kind": "ConcatenationOptions", "axis": 1},
        ),
        "PACK": (
            [row, row],
            [Data((2, 4), dtype)],
            {"kind": "PackOptions", "axis": 0, "valuesCount": 2},
        ),
        "UNPACK": ([Data((2, 4), dtype)], [row, row], {"kind": "UnpackOptions", "num": 2}),
        "SPLIT": (
            [constant((), "int32", 0), Data((4,), dtype)],
            [Data((2,), dtype), Data((2,), dtype)],
            {"kind": "SplitOptions", "numSplits": 2},
        ),
        "SPLIT_V": (
            [Data((4,), dtype), index(1, 3), constant((), "int32", 0)],
            [Data((1,), dtype), Data((3,), dtype)],
            {"kind": "SplitVOptions", "numSplits": 2},
        ),
        "SQUEEZE": (
            [Data((1, 4), dtype)],
            [row],
            {"kind": "SqueezeOptions", "squeezeDims": np.array([0], np.int32)},
        ),
        "EXPAND_DIMS": ([row, constant((1,), "int32", 0)], [Data((1, 4), dtype)], None),
        "SLICE": ([row, index(1), index(2)], [Data((2,), dtype)], None),
        "STRIDED_SLICE": (
            [row, index(0), index(4), index(2)],
            [Data((2,), dtype)],
            {"kind": "StridedSliceOptions"},
        ),
        "GATHER": ([row, index(0, 2)], [Data((2,), dtype)], {"kind": "GatherOptions"}),
        "GATHER_ND": ([row, constant((2, 1), "int32", 1)], [Data((2,), dtype)], None),
        "FILL": ([index(2, 2), constant((), dtype)], [Data((2, 2), dtype)], None),
        "BROADCAST_TO": ([row, index(2, 4)], [Data((2, 4), dtype)], None),
        "REVERSE_V2": ([row, index(0)], [row], None),
        "DEPTH_TO_SPACE": (
            [x],
            [Data((1, 4, 4, 1), dtype)],
            {"kind": "DepthToSpaceOptions", "blockSize": 2},
        ),
        "SPACE_TO_DEPTH": (
            [x],
            [Data((1, 1, 1, 16), dtype)],
            {"kind": "SpaceToDepthOptions", "blockSize": 2},
        ),
        "BATCH_TO_SPACE_ND": (
            [Data((4, 1, 1, 4), dtype), index(2, 2), grid((0, 0), (0, 0))],
            [x],
            None,
        ),
        "SPACE_TO_BATCH_ND": (
            [x, index(2, 2), grid((0, 0), (0, 0))],
            [Data((4, 1, 1, 4), dtype)],
            None,
        ),
        "RESIZE_BILINEAR": (
            [x, index(4, 4)],
            [Data((1, 4, 4, 4), dtype)],
            {"kind": "ResizeBilinearOptions"},
        ),
        "RESIZE_NEAREST_NEIGHBOR": (
            [x, index(4, 4)],
            [Data((1, 4, 4, 4), dtype)],
            {"kind": "ResizeNearestNeighborOptions"},
        ),
        "CUMSUM": ([row, constant((), "int32", 0)], [row], {"kind": "CumsumOptions"}),
        "ARG_MAX": (
            [Data((1, 4), dtype), constant((), "int32", 1)],
            [Data((1,), "int32")],
            {"kind": "ArgMaxOptions", "outputType": 2},
        ),
        "ARG_MIN": (
            [Data((1, 4), dtype), constant((), "int32", 1)],
            [Data((1,), "int32")],
            {"kind": "ArgMinOptions", "outputType": 2},
        ),
        "SHAPE": ([x], [Data((4,), "int32")], {"kind": "ShapeOptions", "outType": 2}),
        "SELECT_V2": ([Data((4,), "bool"), row, row], [row], None),
        "BROADCAST_ARGS": ([index(1, 4), index(2, 1)], [Data((2,), "int32")], None),
        "DYNAMIC_UPDATE_SLICE": ([row, Data((2,), dtype), index(1)], [row], None),
        "EMBEDDING_LOOKUP": ([index(1), constant((2, 4), dtype)], [Data((1, 4), dtype)], None),
        "BATCH_MATMUL": (
            [Data((1, 2, 4), dtype), Data((1, 4, 3), dtype)],
            [Data((1, 2, 3), dtype)],
            {"kind": "BatchMatMulOptions"},
        ),
        "AVERAGE_POOL_2D": ([x], [Data((1, 1, 1, 4), dtype)], POOL),
        "MAX_POOL_2D": ([x], [Data((1, 1, 1, 4), dtype)], POOL),
        "L2_POOL_2D": ([x], [Data((1, 1, 1, 4), dtype)], POOL),
    }
    return made(code, *table[code])


POOL = {
    "kind": "Pool2DOptions",
    "padding": 1,
    "strideW": 1,
    "strideH": 1,
    "filterWidth": 2,
    "filterHeight": 2,
}
SHAPING = [
    "RESHAPE",
    "TRANSPOSE",
    "PAD",
    "PADV2",
    "MIRROR_PAD",
    "CONCATENATION",
    "PACK",
    "UNPACK",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "EXPAND_DIMS",
    "SLICE",
    "STRIDED_SLICE",
    "GATHER",
    "GATHER_ND",
    "FILL",
    "BROADCAST_TO",
    "REVERSE_V2",
    "DEPTH_TO_SPACE",
    "SPACE_TO_DEPTH",
    "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "CUMSUM",
    "ARG_MAX",
    "ARG_MIN",
    "SHAPE",
    "SELECT_V2",
    "DYNAMIC_UPDATE_SLICE",
    "EMBEDDING_LOOKUP",
    "BATCH_MATMUL",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "L2_POOL_2D",
]


def grid(*rows: tuple[int, int]) -> Data:
    """A constant matrix, such as paddings."""
    return Data((len(rows), 2), "int32", np.array(rows))


def changed(code: str, before: str, after: str) -> Made:
    """A model of CAST, QUANTIZE or DEQUANTIZE from one type to another."""
    kinds = {
        "CAST": "CastOptions",
        "QUANTIZE": "QuantizeOptions",
        "DEQUANTIZE": "DequantizeOptions",
    }
    options: dict[str, Any] = {"kind": kinds[code]}
    if code == "CAST":
        options |= {"inDataType": NUMBERS[before], "outDataType": NUMBERS[after]}
    given: list[Data] = [Data((1, 4), before), Data((1, 4), after)]
    model = write(code, [given[0]], [given[1]], options)
    return Made(code, f"{before} -> {after}", scaled(model) if code == "QUANTIZE" else model)


def scaled(model: bytes) -> bytes:
    """The same model with a scale for each tensor of whole numbers, as quantizing wants it."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for tensor in whole.subgraphs[0].tensors:
        if tensor.quantization is None and tensor.type == NUMBERS["int32"]:
            tensor.quantization = quantization_of(Data((1,), "int8", scale=0.01), False)
    writer = flatbuffers.Builder(1024)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def weighted(code: str, x: str, w: str, b: str | None, y: str) -> Made:
    """A model of a convolution or a matrix product with constant weights."""
    bias = None if b is None else constant((4,), b, 0, scale=0.01)
    if code == "FULLY_CONNECTED":
        options: dict[str, Any] = {"kind": "FullyConnectedOptions"}
        return made(code, [Data((1, 8), x), constant((4, 8), w), bias], [Data((1, 4), y)], options)
    image, out = Data((1, 4, 4, 4), x), Data((1, 4, 4, 4), y)
    square = {"padding": 0, "strideW": 1, "strideH": 1}
    many = {"channels": 4, "axis": 3 if code == "DEPTHWISE_CONV_2D" else 0}
    if code == "CONV_2D":
        weights = constant((4, 1, 1, 4), w, **many)
        return made(
            code,
            [image, weights, many_scales(bias)],
            [out],
            {
                "kind": "Conv2DOptions",
                **square,
                "dilationWFactor": 1,
                "dilationHFactor": 1,
            },
        )
    if code == "DEPTHWISE_CONV_2D":
        weights = constant((1, 3, 3, 4), w, **many)
        return made(
            code,
            [image, weights, many_scales(bias)],
            [out],
            {
                "kind": "DepthwiseConv2DOptions",
                **square,
                "depthMultiplier": 1,
                "dilationWFactor": 1,
                "dilationHFactor": 1,
            },
        )
    weights = constant((4, 1, 1, 4), w, **many)
    return made(
        code,
        [index(1, 4, 4, 4), weights, image, many_scales(bias)],
        [out],
        {"kind": "TransposeConvOptions", **square},
    )


def many_scales(bias: Data | None) -> Data | None:
    """A bias with a scale for each of four channels."""
    return None if bias is None else replace(bias, channels=4)


def svdf(x: str, feature: str, time: str, b: str, state: str, y: str) -> Made:
    """A model of SVDF of rank 1 with a memory of 3 steps."""
    given: list[Data | None] = [
        Data((1, 4), x),
        constant((2, 4), feature),
        constant((2, 3), time),
        constant((2,), b, 0, scale=0.01),
        Data((1, 6), state, variable=True),
    ]
    return made("SVDF", given, [Data((1, 2), y)], {"kind": "SVDFOptions", "rank": 1})
