"""The README of a package: what each file is, sizes, how to build, what was checked."""

from __future__ import annotations

from collections.abc import Iterable

from edgepack.micro.c_names import remark
from edgepack.micro.package.contents import Contents, Port
from edgepack.micro.package.golden import flash_bytes
from edgepack.micro.package.naming import c_float, identifiers, prose
from edgepack.micro.package.template import fill, part

PURPOSES = {
    "CMakeLists.txt": "builds it with CMake, and as a component of ESP-IDF",
    "README.md": "this text",
    "idf_component.yml": "tells ESP-IDF's component manager what it needs",
    "library.json": "makes it a library of PlatformIO",
    "library.properties": "makes it a library of Arduino",
    "examples/esp_idf/CMakeLists.txt": "a project of ESP-IDF that runs the golden vectors",
    "examples/esp_idf/main/CMakeLists.txt": "its main component",
    "examples/golden/golden.ino": "the same as a sketch of Arduino",
    "examples/golden/main.cpp": "runs the golden vectors and says which pass",
    "examples/golden/platformio.ini": "the same as a project of PlatformIO",
    "examples/golden/{name}_golden.c": "the golden vectors",
    "examples/golden/{name}_golden.h": "declares them",
    "src/{name}.c": "the model as a constant array",
    "src/{name}.cpp": "the model as a constant array",
    "src/{name}.h": "declares it",
    "src/{name}_labels.h": "what the classes are called",
    "src/{name}_model.cpp": "the interface's code, with the resolver's operators",
    "src/{name}_model.h": "the interface: include this one",
}

KERNELS = {
    "cmsis-nn": "with CMSIS-NN (`OPTIMIZED_KERNEL_DIR=cmsis_nn` in its Makefile)",
    "esp-nn": "with ESP-NN, as `espressif/esp-tflite-micro` does by itself",
    "reference": "with its reference kernels",
}

ACCELERATOR = """

The model was compiled for `{accelerator}`: build TensorFlow Lite Micro with its Ethos-U kernel,
start the accelerator's driver (`ethosu_init`) before `init()`, and put the arena where the
accelerator reaches it."""

STATE = """
The model remembers what it saw in {count} {what}: `reset()` makes it forget. `init()` does, too.
"""


def text(contents: Contents, paths: Iterable[str]) -> str:
    """The README for the files with these paths."""
    purposes = {path.format(name=contents.name): words for path, words in PURPOSES.items()}
    return fill(
        "README.md",
        name=contents.name,
        target=remark(contents.target) or "any microcontroller",
        files="\n".join(f"| `{path}` | {purposes[path]} |" for path in sorted(paths)),
        model_bytes=f"{contents.model_bytes:,}",
        arena_bytes=f"{contents.arena_bytes:,}",
        golden_bytes=f"{flash_bytes(contents):,}",
        arena_note="\n".join(prose(contents.arena_note)),
        fit=_fit(contents),
        ports="\n".join(_ports(contents)),
        alias=_alias(contents),
        snippet=_snippet(contents).rstrip("\n"),
        state=_state(contents),
        kernels=_kernels(contents),
        golden=_golden(contents),
        tolerance=_tolerance(contents),
        checks=_checks(contents),
        provenance="\n".join(_provenance(contents)),
    )


def _fit(contents: Contents) -> str:
    return "".join(["\n", *(f"{_item(line)}\n" for line in contents.fit)]) if contents.fit else ""


def _item(text: str) -> str:
    return "- " + "\n  ".join(prose(text))


def _ports(contents: Contents) -> Iterable[str]:
    for side, ports in (("Input", contents.inputs), ("Output", contents.outputs)):
        for index, port in enumerate(ports):
            name = f"`{label}`" if (label := remark(port.name)) else ""
            shape = " x ".join(map(str, port.shape)) or "1"
            yield f"| `{side}{index}` | {name} | {port.dtype} | {shape} | {_formula(port)} |"


def _formula(port: Port) -> str:
    if not port.is_quantized:
        return "as it is"
    return f"real / {c_float(port.scale).removesuffix('f')} + {port.zero_point}".replace(
        "+ -", "- "
    )


def _alias(contents: Contents) -> str:
    for side, ports in (("Input", contents.inputs), ("Output", contents.outputs)):
        for word in identifiers(port.name for port in ports):
            if word:
                return f"{side}_{word}"
    return "Input_image"


def _snippet(contents: Contents) -> str:
    read = "model::Output0::data()[i]"
    output = contents.outputs[0]
    if output.is_quantized:
        read = f"model::Output0::dequantize({read})"
    elif output.dtype != "float32":
        read = f"static_cast<float>({read})"
    name = contents.name
    labels = f'#include "{name}_labels.h"  // kLabels[i] names result[i]\n'
    return part(
        "snippet.cpp",
        name=name,
        labels_include=labels if contents.labels else "",
        feeds="\n".join(_feed(i, port) for i, port in enumerate(contents.inputs))
        or "  static_cast<void>(real);",
        read=read,
    )


def _feed(index: int, port: Port) -> str:
    tensor = f"model::Input{index}"
    value = "*real++"
    if port.is_quantized:
        value = f"{tensor}::quantize({value})"
    elif port.dtype == "bool":
        value = f"{value} != 0.0f"
    elif port.dtype != "float32":
        value = f"static_cast<{tensor}::type>({value})"
    return (
        f"  for (std::size_t i = 0; i < {tensor}::size; ++i) {{\n"
        f"    {tensor}::data()[i] = {value};\n  }}"
    )


def _state(contents: Contents) -> str:
    if not contents.keeps_state:
        return ""
    count, what = contents.variable_tensors, "variable tensors"
    if contents.resource_variables:
        count, what = contents.resource_variables, "resource variables"
    return STATE.format(count=count, what=what)


def _kernels(contents: Contents) -> str:
    words = KERNELS.get(contents.kernels, "")
    usual = f" On\n`{remark(contents.target)}` it is usually built {words}." if words else ""
    if not contents.accelerator:
        return usual
    return usual + ACCELERATOR.format(accelerator=remark(contents.accelerator))


def _golden(contents: Contents) -> str:
    count = len(contents.vectors)
    what = f"There {'is' if count == 1 else 'are'} {count}, in stored numbers"
    if contents.keeps_state:
        return f"{what}; they run in order, as the model remembers."
    return f"{what}."


def _tolerance(contents: Contents) -> str:
    if not contents.tolerance:
        return "nothing"
    return f"{contents.tolerance}, because the kernels that are usual there may round differently"


def _checks(contents: Contents) -> str:
    return "\n".join(map(_item, contents.checks or ["Nothing was recorded."]))


def _provenance(contents: Contents) -> Iterable[str]:
    for name, value in contents.provenance.items():
        yield f"| {remark(name)} | `{remark(value) or '-'}` |"
