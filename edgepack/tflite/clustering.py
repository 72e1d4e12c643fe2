"""Clusters a float .tflite at once: the weights of a layer or channel share few values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import StepError
from edgepack.step import unremarked
from edgepack.tflite.counting import Place
from edgepack.tflite.editing import edit_weights
from edgepack.training import kmeans

CLUSTERABLE = frozenset(
    {
        *("CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"),
        *("FULLY_CONNECTED", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER"),
    }
)
"""Operators whose weights are clustered: those of the layers that TF-MOT clusters. Depthwise ones
lose too much accuracy and are left alone, as in Keras models."""


def cluster(
    data: bytes,
    clusters: int,
    *,
    initialization: str = "linear",
    scope: str = "tensor",
    seed: int = 0,
    remark: Callable[[str], None] = unremarked,
) -> bytes:
    """A float .tflite with few values in each layer; zeros stay zero.

    Args:
        data: the flatbuffer.
        clusters: the most values that are left, zero included where there are zeros.
        initialization: one of `edgepack.training.kmeans.INITIALIZATIONS`.
        scope: ``tensor``, or ``channel`` for those of CONV_2D.
        seed: of random starts.
        remark: told how many channels were left alone.

    Raises:
        StepError: if no layer has enough values to share.
        ModelError: if the flatbuffer is broken, or stores a weight sparsely.
    """
    done: list[int] = []

    def change(place: Place, values: NDArray[Any]) -> NDArray[Any] | None:
        if place.operator.code not in CLUSTERABLE or np.count_nonzero(values) <= clusters:
            return None
        rng = np.random.default_rng(seed)
        by_channel = scope == "channel" and place.operator.code == "CONV_2D"
        rows = values if by_channel else values[None]
        few = [np.count_nonzero(row) < clusters for row in rows]
        done.append(sum(few) if by_channel else 0)
        shared = [kmeans.share(row, clusters, initialization, rng) for row in rows]
        return np.stack(shared).reshape(values.shape)

    made = edit_weights(data, change)
    if not done:
        raise StepError(
            f"no layer of the model has {clusters} values to share", "set cluster.clusters to fewer"
        )
    if left := sum(done):
        remark(f"{left} channels have fewer than {clusters} values and are left alone")
    return made
