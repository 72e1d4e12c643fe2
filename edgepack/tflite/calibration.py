"""Samples that ranges are read from, one at a time, as a model's inputs take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepack.progress import Progress, Reporter, silent
from edgepack.tflite import flatbuffer, signature

if TYPE_CHECKING:
    from edgepack.data.dataset import Dataset
    from edgepack.tflite.quantizer import Sample, Samples


def samples_of(
    model: bytes, dataset: Dataset, count: int, seed: int, report: Reporter = silent
) -> Samples:
    """What calls for a dataset's calibration samples, in the types of a model's inputs.

    Args:
        model: a flatbuffer.
        dataset: whose training samples are taken.
        count: of the samples, at most.
        seed: of their choice.
        report: told how many were taken.
    """
    graph = flatbuffer.read_graph(model)
    kinds = {n: graph.tensors[i].dtype for n, i in signature.ends(graph)["inputs"].items()}
    chosen = dataset.calibration(count, seed)

    def feed() -> Iterator[Sample]:
        for i in range(len(chosen)):
            fed = dataset.feed(chosen.take(slice(i, i + 1)), list(kinds))
            yield {name: fed[name].astype(kind) for name, kind in kinds.items()}
            report(Progress("calibrate", i + 1, len(chosen)))

    return feed
