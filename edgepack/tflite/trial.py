"""Runs a changed .tflite once beside the one that it was made from, in a process that may crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import ModelError, StepError
from edgepack.tflite import flatbytes, interpreter, signature
from edgepack.tflite.subgraph import Graph, Tensor, graph_of

SEED = 0


def compare(before: bytes, after: bytes, sample: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Refuse a model that does not run, has other ends, or makes NaN where the first makes none.

    Args:
        before: the flatbuffer that it was made from.
        after: the flatbuffer.
        sample: inputs ``[1, ...]`` by name; normal numbers where there are none.

    Raises:
        StepError: if it is refused.
    """
    from edgepack.micro.host import Session

    graphs = [graph_of(flatbytes.unpack(flatbytes.load(data))) for data in (before, after)]
    ends = [{which: list(names) for which, names in signature.ends(g).items()} for g in graphs]
    if ends[0] != ends[1]:
        raise StepError(f"the inputs and outputs {ends[0]} became {ends[1]}")
    rows = [_row(graph, sample or _noise(graphs[0])) for graph in graphs]
    try:
        with Session() as session:
            old, new = (
                session.run(session.load(data, [row]), "litert-xnnpack")[0]
                for data, row in zip((before, after), rows, strict=True)
            )
    except ModelError as error:
        raise StepError(f"what was made does not run: {error.message}", error.hint) from error
    for name, was, now in zip(ends[0]["outputs"], old, new, strict=True):
        if was.shape != now.shape or (_is_finite(was) and not _is_finite(now)):
            raise StepError(f"output {name} is broken: {list(now.shape)}, NaN or infinite")


def _noise(graph: Graph) -> dict[str, NDArray[Any]]:
    """Normal numbers for real inputs, zeros for others."""
    rng = np.random.default_rng(SEED)
    made: dict[str, NDArray[Any]] = {}
    for name, index in signature.ends(graph)["inputs"].items():
        tensor = graph.tensors[index]
        shape = tuple(max(1, n) for n in tensor.shape)
        real = tensor.dtype.startswith("float")
        made[name] = (rng.normal(size=shape) if real else np.zeros(shape)).astype(tensor.dtype)
    return made


def _row(graph: Graph, sample: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """A sample as the graph's inputs store it, in their order; a batch is filled with it."""
    ends = {n: graph.tensors[i] for n, i in signature.ends(graph)["inputs"].items()}
    stored = {n: interpreter.quantize(sample[n], _details(tensor)) for n, tensor in ends.items()}
    return [interpreter.padded(x, ends[n].shape[0]) if x.ndim else x for n, x in stored.items()]


def _details(tensor: Tensor) -> dict[str, Any]:
    scale = (tensor.scale[0], tensor.zero_point[0]) if tensor.scale else (0.0, 0)
    return {"dtype": tensor.dtype, "quantization": scale}


def _is_finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
