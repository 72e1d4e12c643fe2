"""The C++ around a model: wrapper, resolver, labels and the program of the golden vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgepack.micro.c_names import remark
from edgepack.micro.package.contents import TYPES, Contents, Port
from edgepack.micro.package.naming import c_float, c_string, identifiers, prose
from edgepack.micro.package.template import fill, part

SIDES = ("input", "output")
TFLM = "tensorflow/lite/"
HEADERS = ("micro/micro_interpreter.h", "micro/micro_mutable_op_resolver.h")
RESOURCE_HEADERS = ("micro/micro_allocator.h", "micro/micro_resource_variable.h")
SCHEMA_HEADER = "schema/schema_generated.h"
TFLITE_TYPES = {
    "bool": "kTfLiteBool",
    "float32": "kTfLiteFloat32",
    "int16": "kTfLiteInt16",
    "int32": "kTfLiteInt32",
    "int64": "kTfLiteInt64",
    "int8": "kTfLiteInt8",
    "uint32": "kTfLiteUInt32",
    "uint8": "kTfLiteUInt8",
}
"""The library's word for each of `edgepack.micro.package.contents.TYPES`."""


def model_header(contents: Contents) -> str:
    """What an application includes; it needs nothing of TensorFlow Lite Micro."""
    variables = "resource variables" if contents.resource_variables else "variable tensors"
    reset = part("reset.h", variables=variables) if contents.keeps_state else ""
    return fill(
        "model.h",
        name=contents.name,
        arena_bytes=contents.arena_bytes,
        arena_note="\n// ".join(prose(contents.arena_note)),
        reset=reset,
        tensors="\n".join(
            [*_tensors(contents.inputs, "input"), *_tensors(contents.outputs, "output")]
        ),
    )


def _tensors(ports: Sequence[Port], side: str) -> Iterator[str]:
    words = identifiers(port.name for port in ports)
    for index, (port, word) in enumerate(zip(ports, words, strict=True)):
        alias = f"using {side.title()}_{word} = {side.title()}{index};\n" if word else ""
        yield (
            fill(
                "tensor.h",
                side=side,
                Side=side.title(),
                index=index,
                label=remark(port.name) or "without a name",
                dtype=port.dtype,
                shape=list(port.shape),
                meaning=_meaning(port),
                type=TYPES[port.dtype],
                size=port.size,
                const="const " if side == "output" else "",
                quantization=_quantization(port),
                alias=alias,
            ).rstrip("\n")
            + "\n"
        )


def _meaning(port: Port) -> str:
    if not port.is_quantized:
        return ""
    return f", real = {port.scale:.9g} * (stored - {port.zero_point})".replace("- -", "+ ")


def _quantization(port: Port) -> str:
    if not port.is_quantized:
        return ""
    return fill("quantization.h", scale=c_float(port.scale), zero_point=port.zero_point)


def model_source(contents: Contents) -> str:
    """The wrapper's code, with the resolver that has exactly the model's operators."""
    resources = contents.resource_variables
    ports = list(_ports(contents))
    return fill(
        "model.cpp",
        name=contents.name,
        array_include=f'#include "{contents.name}.h"',
        array_data=f"{contents.name}_data()",
        includes="\n".join(f'#include "{TFLM}{header}"' for header in _headers(contents)),
        operator_count=max(1, len(contents.calls)),
        operators=_operators(contents.calls),
        input_count=len(contents.inputs),
        output_count=len(contents.outputs),
        checks=_all(_check(*port) for port in ports),
        make_interpreter=part(
            "interpreter_resources.cpp" if resources else "interpreter.cpp",
            resource_variables=resources,
        ),
        reset=_reset(contents),
        accessors="\n".join(_accessor(side, index) for side, index, _ in ports),
    )


def _ports(contents: Contents) -> Iterator[tuple[str, int, Port]]:
    for side, ports in zip(SIDES, (contents.inputs, contents.outputs), strict=True):
        for index, port in enumerate(ports):
            yield side, index, port


def _headers(contents: Contents) -> list[str]:
    resources = RESOURCE_HEADERS if contents.resource_variables else ()
    return [*sorted([*HEADERS, *resources]), SCHEMA_HEADER]


def _operators(calls: Sequence[str]) -> str:
    if not calls:
        return "  static_cast<void>(resolver);\n  return true;"
    return _all(f"resolver.{call}() == kTfLiteOk" for call in calls)


def _reset(contents: Contents) -> str:
    if not contents.keeps_state:
        return ""
    return part("reset_resources.cpp" if contents.resource_variables else "reset.cpp")


def _all(conditions: Iterator[str]) -> str:
    return "  return " + " &&\n         ".join(conditions) + ";"


def _check(side: str, index: int, port: Port) -> str:
    return f"fits<{side.title()}{index}>(interpreter->{side}({index}), {TFLITE_TYPES[port.dtype]})"


def _accessor(side: str, index: int) -> str:
    tensor = f"{side.title()}{index}"
    const = "const " if side == "output" else ""
    return (
        f"{const}{tensor}::type* {tensor}::data() {{\n"
        f"  return ready ? data_of<type>(interpreter->{side}({index})) : nullptr;\n}}\n"
    )


def labels_header(contents: Contents) -> str:
    """The labels as an array of UTF-8 strings."""
    lines = ",\n".join(f"    {c_string(label)}" for label in contents.labels)
    return fill("labels.h", name=contents.name, count=len(contents.labels), labels=lines)


def golden_program(contents: Contents) -> str:
    """The program that runs the golden vectors."""
    name = contents.name
    feeds = [
        f"  std::memcpy(model::Input{i}::data(), {name}_golden_input{i}[vector],\n"
        f"              sizeof {name}_golden_input{i}[vector]);"
        for i in range(len(contents.inputs))
    ]
    checks = (
        f"check(vector, {i}, model::Output{i}::data(), {name}_golden_output{i}[vector],\n"
        f"               model::Output{i}::size)"
        for i in range(len(contents.outputs))
    )
    return fill(
        "main.cpp",
        name=name,
        tolerance=contents.tolerance,
        feeds="\n".join(feeds) or "  static_cast<void>(vector);",
        checks=_all(checks),
    )
