"""What a .tflite holds, to look at: graphs of operators and tensors, and the constants' values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepack.errors import ModelError
from edgepack.tflite.flatbytes import BROKEN
from edgepack.tflite.sparse_encoding import densify

READABLE = {
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bool", "float16", "float32", "float64"),
}
INNER_SCOPES = frozenset({"batchnorm", "Tensordot", "separable_conv2d"})
"""Scopes that a layer opens inside its own."""
MAIN_WORK = re.compile(r"conv|matmul|depthwise|tensordot", re.IGNORECASE)
"""Names of what a layer with weights does; a fused operator bears them beside others."""


def _names(numbers: type) -> dict[int, str]:
    return {value: name for name, value in vars(numbers).items() if isinstance(value, int)}


DTYPES = {value: name.lower() for value, name in _names(schema.TensorType).items()}
CODES = _names(schema.BuiltinOperator)
ENUMS = {
    "padding": _names(schema.Padding),
    "fused_activation_function": _names(schema.ActivationFunctionType),
    "weights_format": _names(schema.FullyConnectedOptionsWeightsFormat),
    "in_data_type": DTYPES,
    "out_data_type": DTYPES,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Attributes:
        index: its number in the graph.
        name: empty where it is stripped.
        shape: a dimension that is open until run time counts 1.
        dtype: ``float32``, ``int8``, ``int4``, ``string``, ...
        scale: of quantization: none, one, or one for each channel.
        zero_point: the same for the integer that stands for 0.
        axis: the dimension of the channels, as written: it means nothing unless there are several.
        size_bytes: of the constant data; 0 where it has none.
        is_constant: whether its values lie in the file.
        is_variable: whether it keeps its values between runs.
        open_at: which of its dimensions are open until run time.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    size_bytes: int = 0
    is_constant: bool = False
    is_variable: bool = False
    open_at: tuple[int, ...] = ()
    stored: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    sparsity: Any = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """The number of values; what is open until run time counts 1."""
        return math.prod(1 if n < 0 else n for n in self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        index: its place in the order of execution.
        code: ``CONV_2D`` and so on; of a custom operator its own name.
        version: of the builtin operator.
        inputs: indices of tensors; -1 where an optional one is left out.
        outputs: indices of tensors.
        options: the fields of its options in schema.fbs, such as ``stride_w`` or ``padding``.
        label: the name of its first output; of its weights where that is no layer's.
    """

    index: int
    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def layer(self) -> str:
        """The layer that it comes from, as far as the names tell; empty where they are stripped."""
        names = re.sub(r"/ReadVariableOp\d*", "", self.label).split(";")
        parts = [name.split("/") for name in names if "/" in name]
        parts.sort(key=lambda scopes: (not MAIN_WORK.search(scopes[-1]), "Bias" not in scopes[-1]))
        scopes = parts[0][:-1] if parts else []
        while len(scopes) > 1 and scopes[-1] in INNER_SCOPES:
            scopes = scopes[:-1]
        return scopes[-1] if scopes else ""


@dataclass(frozen=True)
class Signature:
    """Names by which a model is called: of its inputs and outputs, with their tensors' indices."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class Graph:
    """The graph that runs, and under `bodies` those that its loops and branches run.

    Attributes:
        operators: in the order of execution.
        tensors: all tensors; indices elsewhere point in here.
        inputs: indices of the inputs' tensors.
        outputs: indices of the outputs' tensors.
        signatures: none where they are stripped.
        bodies: the other graphs of the file: the options of a loop name number ``1 + i``.
        description: what the converter wrote of itself.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: tuple[Signature, ...] = ()
    bodies: tuple[Graph, ...] = ()
    description: str = ""

    def values(self, tensor: Tensor) -> NDArray[Any]:
        """A constant's values, read-only, in its shape: int4 as int8, sparse ones made dense.

        Raises:
            ModelError: if the tensor is no constant, its bytes do not fit, or it holds text.
        """
        if tensor.stored is None or not tensor.is_constant:
            raise ModelError(f"tensor {tensor.index} {tensor.name!r} is not a constant")
        try:
            return _decode(tensor, tensor.stored)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            what = f"constant {tensor.index} {tensor.name!r} {tensor.dtype}{list(tensor.shape)}"
            raise ModelError(f"{what} is broken: {error}", BROKEN) from error


def _decode(tensor: Tensor, stored: NDArray[Any]) -> NDArray[Any]:
    values = _unpack_int4(stored, tensor) if tensor.dtype == "int4" else _typed(stored, tensor)
    if tensor.sparsity is not None:
        values = densify(values, tensor.shape, tensor.sparsity)
    values = values.reshape(tensor.shape)
    values.setflags(write=False)
    return values


def _typed(stored: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype not in READABLE:
        raise ValueError(f"edgepack does not read values of {tensor.dtype}")
    return stored.view(np.dtype(tensor.dtype).newbyteorder("<"))


def _unpack_int4(stored: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Two values a byte, the first in the low half; the sign is in each half's highest bit."""
    halves = np.stack([stored << 4, stored], axis=-1).ravel().view(np.int8) >> 4
    unused = 1 if tensor.sparsity is None and tensor.size % 2 else 0
    values: NDArray[Any] = halves[: len(halves) - unused]
    return values


def graph_of(model: Any, which: int = 0) -> Graph:
    """The view of one graph of a ModelT that `edgepack.tflite.flatbytes.unpack` has checked."""
    graph = model.subgraphs[which]
    tensors = tuple(_tensor(i, t, model.buffers) for i, t in enumerate(graph.tensors))
    return Graph(
        operators=tuple(_operator(i, o, model, tensors) for i, o in enumerate(graph.operators)),
        tensors=tensors,
        inputs=_ints(graph.inputs),
        outputs=_ints(graph.outputs),
        signatures=tuple(map(_signature, (model.signatureDefs or ()) if which == 0 else ())),
        bodies=tuple(graph_of(model, i) for i in range(1, len(model.subgraphs)) if which == 0),
        description=_text(model.description),
    )


def _tensor(index: int, tensor: Any, buffers: Any) -> Tensor:
    quantization = tensor.quantization or schema.QuantizationParametersT()
    shape = _ints(tensor.shape)
    every = (*enumerate(shape), *enumerate(_ints(tensor.shapeSignature)))
    open_at = {place for place, n in every if n < 0}
    data = buffers[tensor.buffer].data
    size = 0 if data is None else len(data)
    return Tensor(
        index=index,
        name=_text(tensor.name),
        shape=shape,
        dtype=DTYPES.get(tensor.type, f"type{tensor.type}"),
        scale=() if quantization.scale is None else tuple(quantization.scale.tolist()),
        zero_point=_ints(quantization.zeroPoint),
        axis=quantization.quantizedDimension,
        size_bytes=size,
        is_constant=data is not None and bool(size or tensor.sparsity or 0 in shape),
        is_variable=bool(tensor.isVariable),
        open_at=tuple(sorted(open_at)),
        stored=data,
        sparsity=tensor.sparsity,
    )


def _operator(index: int, operator: Any, model: Any, tensors: tuple[Tensor, ...]) -> Operator:
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _text(code.customCode) if number == schema.BuiltinOperator.CUSTOM else ""
    inputs, outputs = _ints(operator.inputs), _ints(operator.outputs)
    return Operator(
        index=index,
        code=name or CODES.get(number, f"BUILTIN_{number}"),
        version=code.version,
        inputs=inputs,
        outputs=outputs,
        options=_options(operator.builtinOptions or operator.builtinOptions2),
        label=_label(*([tensors[i] for i in ends if i >= 0] for ends in (inputs, outputs))),
    )


def _label(inputs: list[Tensor], outputs: list[Tensor]) -> str:
    own = outputs[0].name if outputs else ""
    weights = [t.name for t in inputs if t.is_constant and MAIN_WORK.search(t.name)]
    return own if "/" in own else next((name for name in weights if "/" in name), own)


def _options(options: Any) -> dict[str, Any]:
    found = {}
    for name, value in vars(options).items() if options is not None else ():
        key = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        found[key] = (
            ENUMS.get(key, {}).get(value, value) if isinstance(value, int) else _plain(value)
        )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return _text(value) if isinstance(value, bytes) else value


def _signature(signature: Any) -> Signature:
    return Signature(
        _text(signature.signatureKey),
        signature.subgraphIndex,
        {_text(m.name): m.tensorIndex for m in signature.inputs or ()},
        {_text(m.name): m.tensorIndex for m in signature.outputs or ()},
    )


def _ints(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(n) for n in vector)


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
