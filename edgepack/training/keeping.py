"""Keeps structure through training: after a batch, each kernel is put back to what it must be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.kernels import Kernel
from edgepack.training.properties import measure

Keep = Callable[[], None]
"""Puts one kernel back, in TensorFlow operators."""


def keepers(found: Sequence[Kernel], properties: Collection[str]) -> list[Keep]:
    """A function for each kernel that has structure; what it keeps is read off the weights now.

    Args:
        found: kernels of a tf_keras model, inside TF-MOT's wrappers or not.
        properties: of `edgepack.training.properties.present`.
    """
    functions = []
    for kernel in found:
        (structure,) = measure([kernel.weight()])
        if "clustered" in properties and structure.clustered:
            functions.append(keep_clusters(kernel, in_tensor=structure.clustered_in_tensor))
        elif "sparse" in properties and structure.sparse:
            functions.append(keep_zeros(kernel))
    return functions


def keep_zeros(kernel: Kernel) -> Keep:
    """Multiply by the mask of what is not zero now."""
    variable = kernel.variable
    mask = keras.tensorflow().constant((variable.numpy() != 0).astype(np.float32))

    def keep() -> None:
        variable.assign(variable * mask)

    return keep


def keep_clusters(kernel: Kernel, *, in_tensor: bool) -> Keep:
    """Give all values of a cluster their mean; the cluster of zeros stays zero.

    Which values belong together is read off the weights now. The mean of equal gradients is what
    TF-MOT's clustering trains its centroids with.

    Args:
        kernel: what to keep.
        in_tensor: whether clusters go over the whole kernel rather than over each channel.
    """
    tf = keras.tensorflow()
    variable = kernel.variable
    ids, counts, nonzero = clusters_of(kernel, in_tensor=in_tensor)
    members, shape = tf.constant(ids), variable.shape
    weights = tf.constant(nonzero / counts)

    def keep() -> None:
        flat = tf.reshape(variable, [-1])
        means = tf.math.unsorted_segment_sum(flat, members, len(counts)) * weights
        variable.assign(tf.reshape(tf.gather(means, members), shape))

    return keep


def clusters_of(
    kernel: Kernel, *, in_tensor: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cluster number of each value, members of each cluster, and 0 for the clusters of zeros, or 1.

    A cluster is a set of equal values, of the kernel or of one of its channels.
    """
    values = kernel.variable.numpy().ravel()
    channels = 0 if in_tensor else kernel.channels().ravel()
    bits = np.where(values == 0, 0, values.view(np.uint32)).astype(np.int64)
    _, first, ids, counts = np.unique(
        bits + channels * (1 << 32), return_index=True, return_inverse=True, return_counts=True
    )
    nonzero = (values[first] != 0).astype(np.float32)
    return ids.ravel().astype(np.int32), counts.astype(np.float32), nonzero
