"""Finds the first layer in which a quantized model stops following its float baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.evaluate import COLLAPSE_DB, sqnr_db
from edgepack.tflite.flatbuffer import Graph, Operator, read_graph
from edgepack.tflite.interpreter import (
    dequantize,
    fit_open_sizes,
    open_interpreter,
    padded,
    quantize,
)

ONLY_QUANTIZED = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operators that only a quantized graph has, so they have no partner in the float one."""


def first_collapsed_layer(
    baseline: bytes, final: bytes, samples: Mapping[str, NDArray[Any]], inputs: Sequence[str]
) -> str:
    """Name the first layer whose output is constant or under `COLLAPSE_DB`, or nothing.

    Args:
        baseline: the float flatbuffer, names not stripped.
        final: the quantized flatbuffer of the same graph.
        samples: preprocessed inputs ``[n, ...]`` by name.
        inputs: the names in the model's order.
    """
    names = list(inputs)
    pairs = partners(read_graph(baseline), read_graph(final))
    truth = _outputs(baseline, samples, names, [a.outputs[0] for a, _ in pairs])
    seen = _outputs(final, samples, names, [b.outputs[0] for _, b in pairs])
    for (operator, _), a, b in zip(pairs, truth, seen, strict=True):
        noise = sqnr_db(a, b) if a.shape == b.shape else None
        constant = bool(np.all(b == b[:1]) and not np.all(a == a[:1]))
        if constant or (noise is not None and noise < COLLAPSE_DB):
            return f"{operator.layer or 'operator ' + str(operator.index)} ({operator.code})"
    return ""


def partners(baseline: Graph, final: Graph) -> list[tuple[Operator, Operator]]:
    """Operators of two conversions of one graph, paired in order as far as their codes agree."""
    ours = [o for o in baseline.operators if o.code not in ONLY_QUANTIZED]
    theirs = [o for o in final.operators if o.code not in ONLY_QUANTIZED]
    found = []
    for a, b in zip(ours, theirs, strict=False):
        if a.code != b.code:
            break
        found.append((a, b))
    return found


def _outputs(
    model: bytes, samples: Mapping[str, NDArray[Any]], inputs: Sequence[str], tensors: Sequence[int]
) -> list[NDArray[Any]]:
    runtime = open_interpreter(model, keep_tensors=True)
    details = {d["index"]: d for d in runtime.get_tensor_details()}
    places = _inputs_of(runtime, inputs)
    total = len(next(iter(samples.values())))
    batch = int(next(iter(places.values()))["shape"][0])
    fit_open_sizes(runtime, places, samples, batch)
    rows: list[list[NDArray[Any]]] = [[] for _ in tensors]
    for start in range(0, total, batch):
        for name, detail in places.items():
            block = padded(samples[name][start : start + batch], batch)
            runtime.set_tensor(detail["index"], quantize(block, detail))
        runtime.invoke()
        for row, index in zip(rows, tensors, strict=True):
            values = dequantize(runtime.get_tensor(index), details[index]).astype(np.float64)
            row.append(_by_sample(values, batch))
    return [np.concatenate(row)[:total] for row in rows]


def _by_sample(values: NDArray[Any], batch: int) -> NDArray[Any]:
    """One row for each sample, as the two models may have different batches."""
    if values.size % batch:
        return np.tile(values.ravel(), (batch, 1))
    return values.reshape(batch, -1)


def _inputs_of(runtime: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """The input details by the model's own names, in their order."""
    details = runtime.get_input_details()
    signature = runtime.get_signature_list()
    if signature and len(details) > 1:
        by_name = runtime.get_signature_runner(next(iter(signature))).get_input_details()
        details = [by_name[name] for name in inputs]
    return dict(zip(inputs, details, strict=True))
