"""What a model is made of, measured after every step: parameters, MACs, zeros, unique values."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edgepack.network import kernels
from edgepack.training import properties
from edgepack.training.properties import SIGNED, WeightStructure


def audit(form: str, model: Any) -> dict[str, Any]:
    """Measure a model as plain data.

    Args:
        form: one of `edgepack.artifact.FORMS`.
        model: a tf_keras model for the Keras forms, a flatbuffer's bytes for ``tflite``.

    Returns:
        ``parameters``, ``macs``, ``zeros`` (the fraction over all weights), ``binary`` and
        ``ternary`` (the fraction in such weights), ``unique_values`` (the largest count in a tensor
        and in a channel) and ``weights``, a list of `WeightStructure`.
    """
    measured, parameters, macs = _measure_tflite(model) if form == "tflite" else _measure(model)
    total = max(sum(w.size for w in measured), 1)
    signed = {name: sum(w.size for w in measured if name in w.signed) / total for name in SIGNED}
    return {
        "parameters": parameters,
        "macs": macs,
        "zeros": sum(w.zeros * w.size for w in measured) / total,
        **signed,
        "unique_in_tensor": max((w.unique_in_tensor for w in measured), default=0),
        "unique_in_channel": max((w.unique_in_channel for w in measured), default=0),
        "weights": [asdict(w) for w in measured],
    }


def structures(facts: Mapping[str, Any]) -> tuple[WeightStructure, ...]:
    """The `WeightStructure` values of what `audit` returned."""
    return tuple(WeightStructure(**row) for row in facts["weights"])


def _measure(model: Any) -> tuple[tuple[WeightStructure, ...], int, int]:
    weights = kernels.keras_weights(model)
    return properties.measure(weights), kernels.parameters(model), kernels.macs(model)


def _measure_tflite(model: bytes) -> tuple[tuple[WeightStructure, ...], int, int]:
    from edgepack.tflite import flatbuffer

    graph = flatbuffer.read_graph(model)
    weights = flatbuffer.weights(graph)
    macs = int(np.sum(flatbuffer.macs(graph)))
    return properties.measure(weights), flatbuffer.parameters(graph), macs


def file_facts(data: bytes) -> dict[str, int]:
    """Size of a model file as it lies on a disk, and packed for transfer."""
    return {"size_bytes": len(data), "zlib_bytes": len(zlib.compress(data, 9))}
