"""Models of odd inputs and outputs with a package's contents, for tests."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.micro.c_array import array_files
from edgepack.micro.package import Contents, Port, Vector, write
from edgepack.tflite import flatbytes

VECTORS = 3
ARENA_BYTES = 64 * 1024
QUANTIZED = ("int8", "uint8", "int16")
FULLY_CONNECTED, SOFTMAX, VAR_HANDLE = 9, 25, 142
NUMBERS = {name.lower(): n for name, n in vars(schema.TensorType).items() if isinstance(n, int)}
HOSTILE = (
    '*/ int main() { return 1; } /* ??/\n#error "',
    "// \\",
    "int",
    "int",
    "`x` | [y](z) <b> ${CMAKE_SOURCE_DIR} @name@ $name",
    "\x00\ud800é日本",
    "",
)
HOSTILE_LABELS = (
    *('"', "\\", "??/", "*/", "//", "a\nb\rc\td", "%d%s%n", "7\x017", "\x00", "\x7f", "'"),
    *("é日本", "\U0001f600", "\u202e", "", '";system("x");//', 'R"(x)"', "@labels@"),
)


def port(name: str, shape: Sequence[int], dtype: str = "int8", **quantization: Any) -> Port:
    """A port, quantized where its type can be and nothing else is said."""
    scale, zero = (0.05, 0 if dtype == "int16" else 7) if dtype in QUANTIZED else (0.0, 0)
    return Port(
        name,
        tuple(shape),
        dtype,
        quantization.get("scale", scale),
        quantization.get("zero_point", zero),
    )


def flatbuffer(inputs: Sequence[Port], outputs: Sequence[Port], codes: Sequence[int]) -> bytes:
    """A model with these inputs and outputs and an operator of each code, without tensors."""
    graph = schema.SubGraphT()
    ports = (*inputs, *outputs)
    graph.tensors = [_tensor(p) for p in ports]
    graph.inputs = np.arange(len(inputs), dtype=np.int32)
    graph.outputs = np.arange(len(inputs), len(ports), dtype=np.int32)
    graph.operators = [_operator(index) for index in range(len(codes))]
    model = schema.ModelT()
    model.version = 3
    model.subgraphs = [graph]
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [_code(code) for code in codes]
    return flatbytes.pack(model)


def _tensor(port: Port) -> Any:
    tensor = schema.TensorT()
    tensor.shape = np.array(port.shape, np.int32)
    tensor.type = NUMBERS[port.dtype]
    tensor.name = port.name.encode(errors="replace")
    return tensor


def _code(number: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = number
    code.deprecatedBuiltinCode = min(number, 127)
    code.version = 1
    return code


def _operator(code: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs = operator.outputs = np.array([], np.int32)
    return operator


def resource_counter() -> bytes:
    """A model with handles of two resource variables, one of them named twice."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer(ONE, OUT, [VAR_HANDLE]), 0))
    model.subgraphs[0].operators = [_handle(name) for name in ("state", "count", "state")]
    return flatbytes.pack(model)


def _handle(name: str) -> Any:
    operator = _operator(0)
    operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
    operator.builtinOptions = schema.VarHandleOptionsT()
    operator.builtinOptions.container = ""
    operator.builtinOptions.sharedName = name
    return operator


def values(port: Port, seed: int) -> np.ndarray:
    """Random stored numbers, the extreme ones of the type among them."""
    rng = np.random.default_rng(seed)
    if port.dtype == "float32":
        found = rng.normal(size=port.size).astype(np.float32)
        extremes = [np.float32(3.4e38), np.float32(-1e-42)]
    elif port.dtype == "bool":
        found, extremes = rng.random(port.size) < 0.5, []
    else:
        limits = np.iinfo(port.dtype)
        found = rng.integers(limits.min, limits.max, port.size, port.dtype, endpoint=True)
        extremes = [limits.min, limits.max]
    for i, extreme in enumerate(extremes[: port.size - 1]):
        found[i] = extreme
    return found.reshape(port.shape)


def contents(
    inputs: Sequence[Port], outputs: Sequence[Port], name: str = "net", **other: Any
) -> Contents:
    """All of a package, with vectors of random numbers."""
    codes = other.pop("codes", (FULLY_CONNECTED,))
    model = flatbuffer(inputs, outputs, codes)
    vectors = tuple(
        Vector(
            tuple(values(p, 100 * n + i) for i, p in enumerate(inputs)),
            tuple(values(p, 100 * n + 50 + i) for i, p in enumerate(outputs)),
        )
        for n in range(VECTORS)
    )
    plain = Contents(
        name=name,
        arrays=array_files(model, name, provenance={}),
        model_bytes=len(model),
        calls=("AddFullyConnected",),
        arena_bytes=ARENA_BYTES,
        arena_note="made up for a test",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        vectors=vectors,
        target="cortex-m4",
        kernels="cmsis-nn",
        provenance={"model": "net.tflite", "sha256": "ab" * 32},
    )
    return replace(plain, **other)


ONE = (port("x", (1, 12)),)
OUT = (port("y", (1, 3)),)
ODD = {
    "plain": contents(ONE, OUT, labels=("a", "b", "c")),
    "three_in_two_out": contents(
        [port("audio", (1, 4, 2)), port("mask", (5,), "bool"), port("t", (), "float32")],
        [port("scores", (1, 3)), port("state", (2, 2), "int32")],
        calls=("AddFullyConnected", "AddSoftmax"),
        codes=(FULLY_CONNECTED, SOFTMAX),
    ),
    "int16": contents([port("x", (1, 9), "int16")], [port("y", (1, 2), "int16")]),
    "uint8": contents([port("x", (1, 9), "uint8")], [port("y", (300,), "uint8")]),
    "float": contents([port("x", (1, 9), "float32")], [port("y", (1, 5), "float32")]),
    "int64": contents([port("x", (4,), "int64")], [port("y", (5,), "int64")]),
    "unquantized": contents([port("x", (4,), scale=0.0)], [port("y", (5,), scale=0.0)]),
    "no_inputs": contents([], OUT),
    "no_operators": contents(ONE, OUT, calls=(), codes=()),
    "many_labels": contents(ONE, OUT, labels=tuple(f"label {i}" for i in range(1000))),
    "hostile": contents(
        [port(name, (2,)) for name in HOSTILE],
        [port(name, (3,)) for name in HOSTILE],
        labels=HOSTILE_LABELS,
        arena_note=HOSTILE[0],
        provenance=dict(zip(HOSTILE, reversed(HOSTILE), strict=True)),
        fit=HOSTILE,
        checks=HOSTILE,
        target=HOSTILE[0],
        accelerator=HOSTILE[1],
    ),
    "resources": contents(
        ONE,
        OUT,
        resource_variables=2,
        calls=("AddVarHandle",),
        codes=(VAR_HANDLE,),
    ),
    "variables": contents(ONE, OUT, variable_tensors=1),
}


def lay(contents: Contents, folder: Path) -> Path:
    """Write a package into a folder."""
    for path, data in write(contents).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def checksum(contents: Contents) -> int:
    """CRC-32 over the golden inputs and outputs as they lie in memory."""
    crc = 0
    for side in ("inputs", "outputs"):
        for i in range(len(getattr(contents, side))):
            for vector in contents.vectors:
                crc = zlib.crc32(getattr(vector, side)[i].tobytes(), crc)
    return crc
