"""Proves that a rebuilt model computes what its .tflite does, or names what differs first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.errors import StepError
from edgepack.micro import host
from edgepack.network.bridge_check import LIMIT, difference, sample_inputs
from edgepack.network.operations import symbolic
from edgepack.tflite import flatbytes
from edgepack.tflite.subgraph import READABLE, Graph, Tensor
from edgepack.thawing.obstacles import named
from edgepack.thawing.rebuilding import Rebuilt, refusal

Arrays = list[NDArray[Any]]


def prove(data: bytes, graph: Graph, rebuilt: Rebuilt, seed: int) -> float:
    """Compare all outputs on two random samples: at once here, one by one in LiteRT.

    Args:
        data: the source.
        graph: its graph.
        rebuilt: what was made of it.
        seed: of the samples.

    Returns:
        The largest difference, as a part of the largest output (at least 1).

    Raises:
        StepError: if it is more than 1e-4; the first operator that differs is named, or the one
            that mixes the samples of a batch.
        ModelError: if LiteRT cannot run the source.
    """
    samples = [np.asarray(x) for x in sample_inputs(rebuilt.model, seed=seed)]
    rows = [[x[i : i + 1] for x in samples] for i in range(2)]
    wanted = [_joined(parts) for parts in zip(*run_source(data, rows), strict=True)]
    got = _run(rebuilt.model, samples)
    gap = max(difference(a, b) for a, b in zip(wanted, got, strict=True))
    if gap <= LIMIT["float32"]:
        return gap
    raise _different(data, graph, rebuilt, rows, gap)


def run_source(data: bytes, rows: Sequence[Arrays]) -> list[Arrays]:
    """The outputs of a .tflite for each of some samples, in a process that may crash."""
    with host.Session() as session:
        return session.run(session.load(data, rows), "litert-xnnpack", reset=True)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts[0].ndim else np.asarray(parts)


def _run(model: Any, samples: Sequence[NDArray[Any]]) -> Arrays:
    """The outputs of one call.

    Raises:
        StepError: if TensorFlow cannot run the model on a batch.
    """
    tensors = [keras.tensorflow().constant(x) for x in samples]
    try:
        outputs = model(tensors if len(tensors) > 1 else tensors[0], training=False)
    except Exception as error:
        # A fence: the layers are TensorFlow's, and so is what they raise on shapes that do not fit.
        reason = " ".join(str(error).split())[:160]
        raise refusal([f"it takes no batch of {len(samples[0])}: {reason}"]) from error
    return [np.asarray(y) for y in keras.tensorflow().nest.flatten(outputs)]


def _different(
    data: bytes, graph: Graph, rebuilt: Rebuilt, rows: Sequence[Arrays], gap: float
) -> StepError:
    """What to say of a model that is not the same: which operator parts first."""
    inner = _Inside(data, graph, rebuilt)
    parted = inner.first(rows[:1])
    if parted:
        return refusal([f"{parted} computes something else here"])
    mixing = inner.first(rows)
    if mixing:
        return refusal([f"{mixing} mixes the samples of a batch"])
    return refusal([f"its outputs differ by {gap:.3g} of the largest"])


class _Inside:
    """Both models with all that they compute on the way as outputs."""

    def __init__(self, data: bytes, graph: Graph, rebuilt: Rebuilt) -> None:
        shown = dict(_shown(graph, rebuilt.values))
        self._operators = [o for o in graph.operators if set(o.outputs) & shown.keys()]
        self._tensors = list(shown)
        self._source = with_outputs(data, self._tensors)
        self._model = keras.tf_keras().Model(rebuilt.model.inputs, list(shown.values()))

    def first(self, rows: Sequence[Arrays]) -> str:
        """The first operator that gives something else for some samples; empty if none does."""
        together = [np.concatenate(column) for column in zip(*rows, strict=True)]
        found = dict(zip(self._tensors, _run(self._model, together), strict=True))
        source = zip(*run_source(self._source, rows), strict=True)
        wanted = dict(zip(self._tensors, source, strict=True))
        for operator in self._operators:
            for index in set(operator.outputs) & found.keys():
                if not _agree(wanted[index], found[index]):
                    return named(operator)
        return ""


def _shown(graph: Graph, values: dict[int, Any]) -> Iterator[tuple[int, Any]]:
    """What operators give that both models compute, by tensor."""
    for index in (i for operator in graph.operators for i in operator.outputs):
        tensor: Tensor = graph.tensors[index]
        if symbolic(values.get(index)) and tensor.dtype in READABLE:
            yield index, values[index]


def _agree(wanted: Sequence[NDArray[Any]], got: NDArray[Any]) -> bool:
    """Whether a tensor holds for several samples what each alone gives, wherever its batch is."""
    if len(wanted) == 1:
        return difference(wanted[0], got) <= LIMIT["float32"]
    places = range(max(1, wanted[0].ndim))
    joined = (np.concatenate([np.atleast_1d(w) for w in wanted], axis) for axis in places)
    return any(difference(j, got) <= LIMIT["float32"] for j in joined)


def with_outputs(data: bytes, tensors: Sequence[int]) -> bytes:
    """A .tflite that gives some of its tensors instead of its outputs."""
    model = flatbytes.unpack(flatbytes.load(data))
    model.subgraphs[0].outputs = list(tensors)
    model.signatureDefs = []
    return flatbytes.pack(model)
