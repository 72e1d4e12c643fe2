"""Reads and judges an ONNX file, without running or converting anything."""

from __future__ import annotations

import importlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgepack.errors import MissingExtraError, ModelError
from edgepack.exchange.shapes import Shape

MOST_BYTES = (1 << 31) - 1
"""Protocol buffers end there; so do flatbuffers."""
OWN = ("", "ai.onnx")
"""What the domain of ONNX's own operators is called."""
QUANTIZED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "Integer", "QGemm")
"""In the names of operators that compute with integers."""
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}
DTYPES |= {10: "float16", 11: "float64"}
"""What there can be samples of, by its number in ONNX."""
PACKAGES = ("onnx", "onnx2tf", "onnxruntime", "onnxsim")
SHOWN = 3
HINT = "export the model to ONNX again"


def package() -> Any:
    """The module onnx.

    Raises:
        MissingExtraError: if it, or another package that the conversion takes, is not installed.
    """
    for name in PACKAGES:
        if find_spec(name) is None:
            raise MissingExtraError(name, "onnx")
    return importlib.import_module("onnx")


def read(path: Path) -> Any:
    """The ``ModelProto`` of a file, judged; external data stays where it is.

    Raises:
        MissingExtraError: if the package onnx is not installed.
        ModelError: if the file is broken, or holds what cannot be converted.
    """
    model = _parsed(path)
    _check_versions(path, model)
    _check_ends(path, model)
    _check_external(path, model)
    _check_operators(path, model)
    return model


def inputs_of(model: Any) -> dict[str, Shape]:
    """The inputs' shapes by name; weights, which old files list among the inputs, are none."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {value.name: _shape(value) for value in model.graph.input if value.name not in weights}


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those in the bodies of ``If``, ``Loop`` and ``Scan`` among them."""
    for part in graphs(graph):
        yield from part.node


def graphs(graph: Any) -> Iterator[Any]:
    """A graph, and the bodies of its ``If``, ``Loop`` and ``Scan`` nodes."""
    yield graph
    for attribute in (a for node in graph.node for a in node.attribute):
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graphs(body)


def _parsed(path: Path) -> Any:
    onnx = package()
    decode = importlib.import_module("google.protobuf.message").DecodeError
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(f"{path} has over 2 GB", "keep the weights in a file beside it")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except decode as error:
        raise ModelError(f"{path} is not an ONNX model, or it is cut off", HINT) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "check the file") from error
    if not model.ir_version or not model.opset_import or not model.graph.node:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph", HINT)
    if not all(map(_is_text, _messages(model))):
        raise ModelError(f"{path} is broken: one of its names is no text in UTF-8", HINT)
    return model


def _is_text(message: Any) -> bool:
    """Whether all texts are such; ONNX' protocol buffers give other ones as bytes."""
    fields = (value for field, value in message.ListFields() if field.type == field.TYPE_STRING)
    texts = itertools.chain(
        *([value] if isinstance(value, str | bytes) else value for value in fields)
    )
    return all(isinstance(text, str) for text in texts)


def _check_versions(path: Path, model: Any) -> None:
    onnx = package()
    newest = onnx.defs.onnx_opset_version()
    opset = max((o.version for o in model.opset_import if o.domain in OWN), default=0)
    if model.ir_version > onnx.IR_VERSION or opset > newest:
        raise ModelError(
            f"{path} is of ONNX opset {opset} and IR version {model.ir_version}; onnx"
            f" {onnx.__version__} knows up to {newest} and {onnx.IR_VERSION}",
            f"export it with opset {min(newest, 18)}, or install a newer onnx",
        )


def _check_ends(path: Path, model: Any) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for word, values in (("input", inputs), ("output", model.graph.output)):
        if not values:
            raise ModelError(f"{path} has no {word}", HINT)
        for value in values:
            if value.type.tensor_type.elem_type not in DTYPES:
                raise ModelError(
                    f"the {word} {value.name!r} of {path} is no tensor of numbers",
                    "export the model with numbers as inputs and outputs",
                )


def _shape(value: Any) -> Shape:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        raise ModelError(f"the input {value.name!r} has no shape", HINT)
    return [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or "?"
        for d in kind.shape.dim
    ]


def _messages(message: Any) -> Iterator[Any]:
    """A message, and all inside of it."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type:
                waiting += [value] if hasattr(value, "ListFields") else value


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors inside, wherever they are: weights, attributes, parts of functions."""
    return (part for part in _messages(model) if part.DESCRIPTOR.name == "TensorProto")


def _check_external(path: Path, model: Any) -> None:
    """Weights beside the file must lie in its folder; nothing else is opened."""
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        info = {entry.key: entry.value for entry in tensor.external_data}
        total += _external_bytes(path, tensor.name, info)
    if total > MOST_BYTES:
        raise ModelError(f"{path} has {total:,} bytes of weights", "edgepack takes up to 2 GB")


def companions(path: Path) -> list[Path]:
    """The files of weights that belong to a file, sorted.

    Raises:
        ModelError: if it is broken, or one of them is missing or lies outside of its folder.
    """
    model = _parsed(path)
    _check_external(path, model)
    beside = {
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == tensor.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(path.parent / name for name in beside)


def _external_bytes(path: Path, tensor: str, info: dict[str, str]) -> int:
    file = _weights_file(path, tensor, info.get("location", ""))
    try:
        start = int(info.get("offset") or 0)
        count = int(info.get("length") or file.stat().st_size - start)
    except ValueError as error:
        raise ModelError(f"{path}: the place of the weights {tensor!r} is broken", HINT) from error
    if start < 0 or count < 0 or start + count > file.stat().st_size:
        raise ModelError(f"{file} is cut off: the weights {tensor!r} lie past its end", HINT)
    return count


def _weights_file(path: Path, tensor: str, location: str) -> Path:
    place, folder = Path(location), path.parent.resolve()
    try:
        file = (folder / place).resolve()
        is_there = file.is_file()
    except (OSError, ValueError) as error:
        message = f"{path} has its weights in {location!r}, which is no name of a file"
        raise ModelError(message, HINT) from error
    if place.is_absolute() or not file.is_relative_to(folder) or file == folder:
        raise ModelError(
            f"{path} wants the weights {tensor!r} from {location!r}, outside of its folder",
            "keep the file of weights itself, no link to it, beside the model",
        )
    if not is_there:
        raise ModelError(
            f"{path} has its weights in {location!r}, which is missing",
            f"copy {place.name} into {path.parent}",
        )
    return file


def _check_operators(path: Path, model: Any) -> None:
    has = package().defs.has
    local = {(function.domain, function.name) for function in model.functions}
    unknown: Counter[str] = Counter()
    for owner, graph in ((model, model.graph), *((f, f) for f in model.functions)):
        opsets = {o.domain: o.version for o in owner.opset_import}
        for node in nodes(graph):
            if (node.domain, node.op_type) not in local and not _is_known(has, node, opsets):
                unknown[".".join(filter(None, (node.domain, node.op_type)))] += 1
    if unknown:
        raise ModelError(
            f"{path} has operators that are not part of ONNX: {_listed(unknown)}",
            "export it without custom operators and without those of one runtime",
        )
    parts = (model.graph, *model.functions)
    quantized = Counter(n.op_type for p in parts for n in nodes(p) if _is_quantized(n.op_type))
    if quantized:
        raise ModelError(
            f"{path} is quantized already: it has {_listed(quantized)}",
            "give the float model that it was made of; a recipe quantizes it",
        )


def _is_known(has: Callable[..., bool], node: Any, opsets: dict[str, int]) -> bool:
    domain = "" if node.domain in OWN else node.domain
    version = opsets.get(domain) or opsets.get(OWN[1]) or 1
    return has(node.op_type, max_inclusive_version=version, domain=domain)


def _is_quantized(operator: str) -> bool:
    return any(part in operator for part in QUANTIZED)


def _listed(counted: Counter[str]) -> str:
    shown = [f"{count} {name}" for name, count in counted.most_common(SHOWN)]
    return ", ".join(shown) + (" and more" if len(counted) > SHOWN else "")
