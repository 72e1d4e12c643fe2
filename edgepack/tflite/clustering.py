"""Clusters a float .tflite at once: the weights of a layer or channel share few values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Sharing:
    """How weights come to share values.

    Attributes:
        clusters: the most values that are left, zero included where there are zeros.
        initialization: one of `edgepack.training.kmeans.INITIALIZATIONS`.
        scope: ``tensor``, or ``channel`` for those of CONV_2D.
        seed: of random starts.
    """

    clusters: int
    initialization: str = "linear"
    scope: str = "tensor"
    seed: int = 0

    def rows(self, place: Place, values: NDArray[Any]) -> NDArray[Any]:
        """What shares values, one after the other: the channels, or the only whole."""
        by_channel = self.scope == "channel" and place.operator.code == "CONV_2D"
        return values if by_channel else values[None]

    def share(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows with few values in each; zeros stay zero."""
        rng = np.random.default_rng(self.seed)
        shared = [kmeans.share(row, self.clusters, self.initialization, rng) for row in rows]
        return np.stack(shared)


def cluster(data: bytes, sharing: Sharing, remark: Callable[[str], None] = unremarked) -> bytes:
    """A float .tflite with few values in each layer that has more; zeros stay zero.

    Args:
        data: the flatbuffer.
        sharing: how many values, and of what.
        remark: told how many channels were left alone.

    Raises:
        StepError: if no layer has enough values to share.
        ModelError: if the flatbuffer is broken, or stores a weight sparsely.
    """
    few: list[int] = []

    def change(place: Place, values: NDArray[Any]) -> NDArray[Any] | None:
        enough = np.count_nonzero(values) > sharing.clusters
        if place.operator.code not in CLUSTERABLE or not enough:
            return None
        rows = sharing.rows(place, values)
        few.append(sum(np.count_nonzero(row) < sharing.clusters for row in rows))
        return sharing.share(rows).reshape(values.shape)

    made = edit_weights(data, change)
    if not few:
        raise StepError(
            f"no layer of the model has {sharing.clusters} values to share",
            "set cluster.clusters to fewer",
        )
    if left := sum(few):
        remark(f"{left} channels have fewer than {sharing.clusters} values and are left alone")
    return made
