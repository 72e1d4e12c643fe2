"""Foretells what a runtime makes of the zeros in a model, and proves it on a device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgepack.bundle import MANIFEST, read_bundle
from edgepack.device import Device
from edgepack.errors import InputError
from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.ratio import Ratio, median_ratio
from edgepack.measuring.session import measure
from edgepack.measuring.settings import Manners, Settings
from edgepack.measuring.subject import read_subject
from edgepack.progress import Reporter
from edgepack.target import Target
from edgepack.tflite import sparse_coding
from edgepack.tflite.flatbuffer import Graph, is_quantized, read_graph
from edgepack.tflite.weight_layout import weights_of
from edgepack.tflite.xnnpack import ENCODED, WORTH, Forecast, forecast
from edgepack.transport import connect

FLOAT = ("", "float16")
"""Quantizations that XNNPACK computes sparsely."""

Facts = dict[str, Any]


def flatbuffer_in(path: Path) -> bytes | None:
    """The ``.tflite`` of a bundle, or the file itself; None where the model is of another form.

    Raises:
        InputError: if it is broken.
    """
    if (path / MANIFEST).is_file():
        return read_bundle(path).model.read_bytes()
    if path.suffix != ".tflite":
        return None
    read_graph(path)
    return path.read_bytes()


def with_runtime(target: Target, runtime: str) -> Target:
    """The target with another runtime: ``PACKAGE`` or ``PACKAGE==VERSION``; empty for its own."""
    package, _, version = runtime.partition("==")
    return replace(
        target,
        runtime_package=package or target.runtime_package,
        runtime_version=version or target.runtime_version,
    )


def foretell(data: bytes, target: Target) -> Facts:
    """What a target's runtime makes of the zeros of a .tflite.

    Returns:
        ``target``, ``runtime``, ``layers``, ``obstacles`` and ``reason`` as in
        `edgepack.tflite.xnnpack.Forecast`; ``faster``, whether sparse encoding is foretold to pay,
        and ``ratio``, the estimated time with sparse over that with dense encoding.
    """
    graph = read_graph(data)
    found = forecast(graph, target)
    return {
        "target": target.id,
        "runtime": f"{target.runtime_package} {target.runtime_version}",
        "layers": [asdict(layer) for layer in found.layers],
        "obstacles": [asdict(obstacle) for obstacle in found.obstacles],
        "reason": _reason(graph, found),
        "faster": found.faster,
        "ratio": found.ratio,
    }


def _reason(graph: Graph, found: Forecast) -> str:
    """Why nothing is gained; empty where something is."""
    if found.faster:
        return ""
    quantized = is_quantized(graph)
    if quantized not in FLOAT:
        return f"its numbers are {quantized}, and XNNPACK computes sparsely in float only"
    return found.reasons[0] if found.reasons else "the layers that are sparse take little time"


def prove(
    data: bytes, told: Facts, device: Device, settings: Settings, manners: Manners, report: Reporter
) -> Facts:
    """Measure the same weights in dense and in sparse encoding in turns.

    Args:
        data: a float .tflite.
        told: what `foretell` gave.
        device: where to measure.
        settings: how to measure.
        manners: towards the device.
        report: where progress goes.

    Returns:
        ``device``, ``runtime``, ``ratio`` of the medians with its ``interval``, ``dense`` and
        ``sparse`` with ``latency_ms`` and ``size_bytes``, ``codes`` of doubt, and ``held``: whether
        what was foretold came true; None where the measurement does not tell.

    Raises:
        InputError: if no convolution has enough zeros to be encoded sparsely.
    """
    dense = sparse_coding.decode(data)
    encodings = {"dense": dense, "sparse": sparse_coding.encode(dense, _encodable(dense))}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.tflite" for name in encodings]
        for path, content in zip(paths, encodings.values(), strict=True):
            path.write_bytes(content)
        subjects = [read_subject(path) for path in paths]
        transport = connect(device, accept_new_host_key=manners.accept_new_host_key)
        found = measure(transport, device, subjects, [settings], manners, {}, report)
    return judge(told, found)


def _encodable(data: bytes) -> list[int]:
    """The constants of 1x1 convolutions that have enough zeros."""
    graph = read_graph(data)
    chosen = [
        tensor.index
        for operator, tensor, _ in weights_of(graph)
        if operator.code == "CONV_2D"
        and tensor.shape[1:3] == (1, 1)
        and tensor.dtype.startswith("float")
        and (graph.values(tensor) == 0).mean() > ENCODED
    ]
    if not chosen:
        raise InputError(
            f"no 1x1 convolution of float numbers has more than {ENCODED:.0%} zeros",
            "prune the model first: edgepack build MODEL --recipe sparse-float32",
        )
    return chosen


def judge(told: Facts, found: Sequence[Benchmark]) -> Facts:
    """What `prove` returns, from what was measured of the dense and of the sparse encoding."""
    dense, sparse = found
    before, after = (x.measurement("latency").values for x in (dense, sparse))
    ratio = median_ratio(before, after)
    doubted = any(x.verdict["state"] == "invalid" for x in found)
    return {
        "device": dense.device["name"],
        "runtime": _runtime(dense),
        "ratio": ratio.value if ratio else None,
        "interval": [ratio.low, ratio.high] if ratio else [],
        "dense": _seen(dense),
        "sparse": _seen(sparse),
        "codes": sorted({code for x in found for code in x.verdict["codes"]}),
        "held": _held(told["faster"], ratio) if ratio and not doubted else None,
    }


def _held(faster: bool, ratio: Ratio) -> bool | None:
    """Whether the ratio lies on the foretold side; None where its interval goes over the border."""
    if ratio.low <= WORTH <= ratio.high:
        return None
    return faster == (ratio.high < WORTH)


def _seen(found: Benchmark) -> Facts:
    return {
        "latency_ms": found.measurement("latency").summary().median,
        "size_bytes": found.model["size_bytes"],
    }


def _runtime(found: Benchmark) -> str:
    environment: Mapping[str, Any] = found.measurement("latency").environment
    words = (environment.get(key, "") for key in ("runtime", "runtime_version"))
    return " ".join(map(str, words)).strip()
