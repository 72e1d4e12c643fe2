"""Golden vectors: a few inputs and what the final model makes of them, for any device to repeat."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import evaluate, firmware
from edgepack.chain import Chain, Stage
from edgepack.data.dataset import Split
from edgepack.data.noise import SOURCE
from edgepack.store import Result, key_of, source_digest, versions
from edgepack.tflite.interpreter import Interpreter

COUNT = 8
FILE = "golden.npz"


def make(
    chain: Chain, final: Stage, inputs: Sequence[str], outputs: Sequence[str], runtime: str
) -> Result:
    """`COUNT` inputs with the outputs of the final model, from the store or made now.

    Args:
        chain: of the build.
        final: the stage that is deployed.
        inputs: the model's input names in its order.
        outputs: its output names.
        runtime: what runs it on the device; LiteRT makes the outputs unless this one can do so.

    Returns:
        A result with `FILE`, holding ``input.NAME`` preprocessed and ``output.NAME`` dequantized;
        its facts tell the ``source`` of the samples, the ``classes`` among them, and the
        ``preprocessing`` and ``labels`` of the data.
    """
    key = key_of(
        golden=final.artifact.sha256,
        names=[list(inputs), list(outputs)],
        data=chain.fingerprint,
        runtime=[runtime, source_digest(f"edgepack.runtimes.{runtime}")],
        source=source_digest("edgepack.golden"),
        versions=versions(),
    )
    return chain.store.get(key) or _make(chain, key, final, inputs, outputs, runtime)


def _make(
    chain: Chain,
    key: str,
    final: Stage,
    inputs: Sequence[str],
    outputs: Sequence[str],
    runtime: str,
) -> Result:
    data = chain.dataset
    name, split = next(
        (n, s) for n in ("test", "validation", "training") if (s := data.splits().get(n))
    )
    chosen = split.take(spread(split, COUNT))
    samples = data.feed(chosen, list(inputs))
    if bare := firmware.find(runtime):
        results = bare.run(final.read(), samples, inputs, outputs)
    else:
        results = Interpreter(final.read(), inputs, outputs).run(samples)
    arrays: dict[str, Any] = {f"input.{n}": x for n, x in samples.items()}
    arrays |= {f"output.{n}": y for n, y in results.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    facts = {
        "runtime": runtime,
        "source": SOURCE if data.source == SOURCE else name,
        "count": len(chosen),
        "classes": _classes(chosen),
        "preprocessing": asdict(data.preprocessing),
        "labels": list(data.labels),
    }
    return chain.store.put(key, {FILE: buffer.getvalue()}, facts)


def spread(split: Split, count: int) -> NDArray[Any]:
    """Positions of samples from as many classes as there are; evenly spaced without labels."""
    n = len(split)
    labels = _classes_of(split)
    if labels is None:
        return np.unique(np.linspace(0, n - 1, min(count, n)).astype(np.int64))
    places = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    rounds = [p[i] for i in range(count) for p in places if i < len(p)]
    return np.array(sorted(rounds[:count]))


def _classes(split: Split) -> list[int]:
    labels = _classes_of(split)
    return [] if labels is None else [int(c) for c in np.unique(labels)]


def _classes_of(split: Split) -> NDArray[Any] | None:
    """The class of each sample, from numbers or one-hot rows; None where there are no classes."""
    labels = next(iter(split.outputs.values()), None)
    if labels is None or not evaluate.is_classes(labels):
        return None
    if labels.ndim == 2 and labels.shape[1] > 1:
        numbers: NDArray[Any] = np.argmax(labels, axis=1)
        return numbers
    return labels.ravel() if labels.size == len(split) else None
