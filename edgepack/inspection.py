"""What a model file is made of, as plain data: inputs, outputs, operators, tensors, structure."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgepack import audit, entry, firmware, intake
from edgepack.artifact import files_of, sha256_of, tflite_form
from edgepack.bundle import MANIFEST, read_bundle
from edgepack.errors import InputError, ModelError
from edgepack.progress import Reporter, silent
from edgepack.source import ModelSource, is_converted, open_model
from edgepack.store import Store
from edgepack.target import Target, read_target, target_names
from edgepack.tflite import edgetpu
from edgepack.tflite.flatbuffer import Graph, macs, read_graph


def inspect(path: Path, *, report: Reporter = silent, **options: Any) -> dict[str, Any]:
    """Look into a bundle, a ``.tflite`` file, or any model that a build takes.

    Args:
        path: a bundle's folder, or a model's file or folder.
        report: hears of progress.
        options: of `edgepack.source.open_model`.

    Returns:
        ``path``, ``form``, ``size_bytes``, ``sha256``, ``quantization``, ``inputs``, ``outputs``,
        ``operators`` (layers of a Keras model), ``tensors`` (constants, the largest first) and
        ``structure`` as `edgepack.audit.audit` tells it; of a bundle ``firmware``, too; of a
        ``.tflite`` ``obstacles``, why it cannot be made trainable. What must be converted to a
        ``.tflite`` first is shown as that.

    Raises:
        InputError: if it is none of these.
    """
    if (path / MANIFEST).is_file():
        bundle = read_bundle(path)
        return _inspect_tflite(bundle.model) | {"firmware": bundle.manifest.get("firmware")}
    origin = open_model(path, **options)
    if is_converted(origin):
        made = intake.read(origin, Store(), 0, report).artifact.path
        return _inspect_tflite(made) | _head(origin)
    return _inspect_tflite(path) if origin.form == "tflite" else _inspect_keras(origin)


EDGETPU = "edgetpu"
"""The form whose compiler can be forecast."""


def expect(path: Path, target: Target, report: Reporter = silent) -> dict[str, Any]:
    """What is to be expected of a model on a target, before it is built for that.

    Args:
        path: a ``.tflite`` file, or a bundle's folder.
        target: one with an Edge TPU, or a microcontroller.
        report: hears of progress.

    Returns:
        ``firmware`` for a microcontroller, as in a manifest but without parity; else ``expected``
        with ``target``, ``runtime``, ``mapped`` and ``on_cpu`` (numbers of operators), ``problems``
        (why the model would be refused) and ``operators``, each with ``reasons`` why it would run
        on the CPU, and a ``note`` of what no check can tell.

    Raises:
        InputError: if nothing can be told for the target, or the file is no ``.tflite``.
        ModelError: if a microcontroller's runtime cannot run it.
    """
    runtime = firmware.find(target.runtimes[0])
    if EDGETPU not in target.forms and runtime is None:
        known = [name for name in target_names() if EDGETPU in read_target(name).forms]
        raise InputError(
            f"there is no forecast for target {target.id}, which has no Edge TPU",
            f"give one of {', '.join(known)}, or a microcontroller such as cortex-m4",
        )
    model = _flatbuffer(path, target)
    if runtime:
        return {"firmware": _needed(runtime, model.read_bytes(), target, report)}
    return {"expected": _mapped(model, target)}


def _flatbuffer(path: Path, target: Target) -> Path:
    """The file itself, or a bundle's; not compiled, unless the target is an Ethos-U."""
    if (path / MANIFEST).is_file():
        manifest = read_bundle(path).manifest
        plain = None if target.accelerator else manifest.get("compiled_from")
        return path / str((plain or manifest["model"])["path"])
    if path.suffix != ".tflite":
        recipe = " --recipe int8" if EDGETPU in target.forms else ""
        raise ModelError(
            f"{path} is no .tflite, and only that can be checked for {target.id}",
            f"build it first: edgepack build {shlex.quote(str(path))} --target {target.id}{recipe}",
        )
    return path


def _needed(
    runtime: firmware.Firmware, model: bytes, target: Target, report: Reporter
) -> dict[str, Any]:
    if tflite_form(model) != "ethosu":
        target = replace(target, accelerator="")
    runtime.check(model)
    return runtime.need(model, model, target, report)


def _mapped(model: Path, target: Target) -> dict[str, Any]:
    expected = edgetpu.forecast(read_graph(model))
    return {
        "target": target.id,
        "runtime": edgetpu.RUNTIME,
        "mapped": expected.mapped,
        "on_cpu": len(expected.on_cpu),
        "problems": list(expected.problems),
        "operators": [_placement(placement) for placement in expected.placements],
    }


def _placement(placement: edgetpu.Placement) -> dict[str, Any]:
    return {
        "index": placement.operator.index,
        "name": placement.operator.code,
        "version": placement.operator.version,
        "layer": placement.operator.layer,
        "edgetpu": not placement.reasons,
        "reasons": list(placement.reasons),
        "note": placement.note,
    }


def _head(origin: ModelSource) -> dict[str, Any]:
    size = sum(path.stat().st_size for path in files_of(origin.file))
    facts = {"path": str(origin.file), "form": origin.form, "size_bytes": size}
    return {**facts, "sha256": origin.sha256}


def _inspect_tflite(path: Path) -> dict[str, Any]:
    graph = read_graph(path)
    found = entry.look(path)
    return {
        "path": str(path),
        "form": tflite_form(path.read_bytes()),
        "size_bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "quantization": found.quantized,
        "obstacles": [*found.obstacles] if not entry.is_final(found) else ["it is quantized"],
        "inputs": [_tensor(graph, i) for i in graph.inputs],
        "outputs": [_tensor(graph, i) for i in graph.outputs],
        "operators": _operators(graph),
        "tensors": _constants(graph),
        "structure": audit.audit("tflite", path.read_bytes()),
    }


def _tensor(graph: Graph, index: int) -> dict[str, Any]:
    tensor = graph.tensors[index]
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": list(tensor.scale[:1]),
        "zero_point": list(tensor.zero_point[:1]),
        "size_bytes": tensor.size_bytes,
    }


def _operators(graph: Graph) -> list[dict[str, Any]]:
    rows = zip(graph.operators, macs(graph), strict=True)
    return [
        {
            "name": operator.code,
            "version": operator.version,
            "layer": operator.layer,
            "shape": list(graph.tensors[operator.outputs[0]].shape) if operator.outputs else [],
            "dtype": graph.tensors[operator.outputs[0]].dtype if operator.outputs else "",
            "macs": int(count),
        }
        for operator, count in rows
    ]


def _constants(graph: Graph) -> list[dict[str, Any]]:
    largest = sorted(
        (t for t in graph.tensors if t.is_constant), key=lambda t: (-t.size_bytes, t.index)
    )
    return [_tensor(graph, tensor.index) for tensor in largest]


def _inspect_keras(source: ModelSource) -> dict[str, Any]:
    from edgepack import keras, plugins
    from edgepack.network import walk

    keras.start(0)
    model = plugins.load("forms", source.form).read(source)
    return {
        **_head(source),
        "quantization": "",
        "inputs": _slots(walk.inputs_of(model)),
        "outputs": _slots(walk.outputs_of(model)),
        "operators": [_layer(layer) for layer in model.layers],
        "tensors": _weights(model),
        "structure": audit.audit("keras", model),
    }


def _slots(rows: Any) -> list[dict[str, Any]]:
    return [{"name": name, "shape": list(shape), "dtype": dtype} for name, shape, dtype in rows]


def _layer(layer: Any) -> dict[str, Any]:
    shape = layer.output_shape
    return {
        "name": type(layer).__name__,
        "layer": layer.name,
        "shape": list(shape[0] if isinstance(shape, list) else shape),
        "dtype": layer.dtype,
        "parameters": layer.count_params(),
    }


def _weights(model: Any) -> list[dict[str, Any]]:
    rows = [
        {"name": w.name, "shape": list(w.shape), "dtype": w.dtype.name}
        | {"size_bytes": w.shape.num_elements() * w.dtype.size}
        for w in model.weights
    ]
    return sorted(rows, key=lambda row: -row["size_bytes"])
