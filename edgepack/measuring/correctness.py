"""Whether a device computes what the host computed: outputs compared within a tolerance."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import DeviceError, InputError, ModelError
from edgepack.evaluate import fidelity
from edgepack.measuring.verdict import Finding
from edgepack.tflite.flatbuffer import Graph, is_quantized, read_graph

Arrays = Mapping[str, NDArray[Any]]

STEPS = 8
"""How many steps of its scale a quantized output may be off: kernels round ties differently, and
layers add up; those of one runtime on one CPU were seen to differ by 5."""

SHARES = {"": 5e-3, "float16": 1e-2, "dynamic": 0.1}
"""By what share of its largest value a float output may be off, by the kind of weights: sums in
another order, halves, or activations quantized while the model runs; the kernels of one runtime on
one CPU were seen to differ by 0.2 % and, with int8 weights, by 5 %."""


METRIC_CHANGE, METRIC_BROKEN = 0.02, 0.10
"""By what share a metric may differ between host and device."""

OTHER_KERNELS = (
    "try another delegate (--delegate none) or runtime; edgepack verify checks the bundle"
)


def tolerances(model: bytes, names: Sequence[str]) -> dict[str, tuple[str, float]]:
    """What each output may be off by.

    Args:
        model: the flatbuffer.
        names: of its outputs: those of its signature, or others in the flatbuffer's order.

    Returns:
        by name ``("step", size)`` of quantized outputs, ``("share", share of the largest value)``
        of others.

    Raises:
        ModelError: if the model has another number of outputs.
    """
    graph = read_graph(model)
    share = SHARES.get(is_quantized(graph), SHARES["dynamic"])
    steps = {name: _step(graph, index) for name, index in _indices(graph, names).items()}
    return {n: ("step", step) if step else ("share", share) for n, step in steps.items()}


def _indices(graph: Graph, names: Sequence[str]) -> Mapping[str, int]:
    """The tensor of each output."""
    signed = graph.signatures[0].outputs if graph.signatures else {}
    if signed.keys() == set(names):
        return signed
    if len(graph.outputs) != len(names):
        raise ModelError(
            f"the model has {len(graph.outputs)} outputs, not {len(names)}: {', '.join(names)}",
            "build the bundle again; its golden vectors are of another model",
        )
    return dict(zip(names, graph.outputs, strict=True))


def _step(graph: Graph, index: int) -> float:
    """The scale of a quantized output, also where it is dequantized at the very end; else 0."""
    tensor = graph.tensors[index]
    makers = [op for op in graph.operators if index in op.outputs and op.code == "DEQUANTIZE"]
    source = graph.tensors[makers[0].inputs[0]] if makers else tensor
    return float(source.scale[0]) if source.scale and not source.is_constant else 0.0


def compare(
    expected: Arrays, found: Arrays, allowed: Mapping[str, tuple[str, float]]
) -> dict[str, Any]:
    """How a device's outputs differ from the host's.

    Args:
        expected: outputs ``[n, ...]`` by name.
        found: likewise.
        allowed: what `tolerances` says.

    Returns:
        ``state``: ``exact``, ``close`` or ``different``, the worst of all outputs; ``samples``;
        ``outputs``: of each its ``state``, ``max_difference``, ``allowed`` and fidelity.

    Raises:
        DeviceError: if names or shapes differ.
    """
    _check_shapes(expected, found)
    outputs = {name: _compare_one(y, found[name], allowed[name]) for name, y in expected.items()}
    order = ("exact", "close", "different")
    return {
        "state": max((figures["state"] for figures in outputs.values()), key=order.index),
        "samples": len(next(iter(expected.values()))),
        "outputs": outputs,
    }


def _check_shapes(expected: Arrays, found: Arrays) -> None:
    wanted, got = ({n: y.shape for n, y in arrays.items()} for arrays in (expected, found))
    if wanted != got:
        raise DeviceError(
            f"the device answers with outputs {got}, the host with {wanted}",
            "build the bundle again; its golden vectors are of another model",
        )


def _compare_one(
    expected: NDArray[Any], found: NDArray[Any], limit: tuple[str, float]
) -> dict[str, Any]:
    kind, size = limit
    largest = float(np.max(np.abs(expected), initial=0.0))
    allowed = STEPS * size * 1.001 if kind == "step" else size * max(largest, 1e-6)
    difference = float(np.max(np.abs(expected.astype(np.float64) - found), initial=0.0))
    near = difference <= allowed
    return {
        "state": "exact" if difference == 0 else "close" if near else "different",
        "max_difference": difference,
        "allowed": allowed,
        **{k: fidelity(expected, found)[k] for k in ("cosine", "sqnr_db", "top1_agreement")},
    }


def findings(outcome: Mapping[str, Any]) -> Iterator[Finding]:
    """What there is to say against a device's outputs.

    Args:
        outcome: ``golden``, ``evaluation`` and ``fault``, as far as there are such.
    """
    if fault := outcome.get("fault"):
        words = f"the outputs on the device could not be checked: {fault}"
        yield Finding("outputs-unchecked", "degraded", words, "measure again")
    golden = outcome.get("golden", {})
    if golden.get("state") == "different":
        yield _different(golden["outputs"])
    if tried := outcome.get("evaluation"):
        yield from _other_metric(tried)


def _different(outputs: Mapping[str, Mapping[str, Any]]) -> Finding:
    name, figures = max(outputs.items(), key=lambda item: _excess(item[1]))
    return Finding(
        "outputs-differ",
        "invalid",
        f"output {name} differs from the host's by {figures['max_difference']:.3g};"
        f" {figures['allowed']:.3g} are allowed",
        OTHER_KERNELS,
    )


def _other_metric(tried: Mapping[str, Any]) -> Iterator[Finding]:
    host, device = tried["host"], tried["device"]
    change = abs(device - host) / max(abs(host), abs(device), 1e-12)
    if change > METRIC_CHANGE:
        words = f"{tried['metric']} is {device:.4f} on the device and {host:.4f} on the host"
        state = "invalid" if change > METRIC_BROKEN else "degraded"
        yield Finding("metric-differs", state, words, OTHER_KERNELS)


def _excess(figures: Mapping[str, Any]) -> float:
    return float(figures["max_difference"] / (figures["allowed"] or 1e-30))


def read_golden(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs ``[n, ...]`` of golden vectors by name.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}", "type: edgepack verify") from error
    return _under(arrays, "input."), _under(arrays, "output.")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` that anybody may have written.

    Raises:
        ValueError: if it is none, or damaged.
    """
    try:
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


def _under(arrays: Arrays, prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
