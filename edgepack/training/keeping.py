"""Keeps structure through training: after a batch, each kernel is put back to what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.kernels import Kernel
from edgepack.training.properties import books, measure

Keep = Callable[[], None]
"""Puts one kernel back, in TensorFlow operators."""


def keepers(found: Sequence[Kernel], properties: Collection[str]) -> list[Keep]:
    """A function for each kernel that has structure; what it keeps is read off the weights now.

    Args:
        found: kernels of a tf_keras model, inside TF-MOT's wrappers or not.
        properties: of `edgepack.training.properties.present`.
    """
    structures = measure([kernel.weight() for kernel in found])
    groups = books(structures) if "shared" in properties else []
    functions = [keep_book([found[i] for i in numbers]) for numbers in groups]
    shared = {i for numbers in groups for i in numbers}
    for number, (kernel, structure) in enumerate(zip(found, structures, strict=True)):
        if number in shared:
            continue
        if structure.signed & set(properties):
            functions.append(keep_signs(kernel))
        elif "clustered" in properties and structure.clustered:
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
    ids, counts, nonzero = clusters_of(kernel, in_tensor=in_tensor)
    return _keep_means([kernel.variable], ids, nonzero / counts)


def keep_book(found: Sequence[Kernel]) -> Keep:
    """Give all values of a cluster that goes over several kernels their mean; zeros stay zero."""
    values = np.concatenate([kernel.variable.numpy().ravel() for kernel in found])
    distinct, ids, counts = np.unique(values, return_inverse=True, return_counts=True)
    return _keep_means([k.variable for k in found], ids.ravel(), (distinct != 0) / counts)


def _keep_means(
    variables: Sequence[Any], ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> Keep:
    """Sum what is in a cluster, multiply by its weight, and hand the product to its members."""
    tf = keras.tensorflow()
    members, factors = tf.constant(ids.astype(np.int32)), tf.constant(weights.astype(np.float32))
    sizes = [math.prod(variable.shape) for variable in variables]

    def keep() -> None:
        flat = tf.concat([tf.reshape(variable, [-1]) for variable in variables], 0)
        means = tf.math.unsorted_segment_sum(flat, members, len(weights)) * factors
        parts = tf.split(tf.gather(means, members), sizes)
        for variable, part in zip(variables, parts, strict=True):
            variable.assign(tf.reshape(part, variable.shape))

    return keep


def keep_signs(kernel: Kernel) -> Keep:
    """Give all values of a channel their mean magnitude; signs and zeros stay as they are now."""
    tf = keras.tensorflow()
    variable = kernel.variable
    channels = kernel.channels()
    signs = np.sign(variable.numpy())
    used = np.bincount(channels.ravel(), np.abs(signs).ravel())
    members, told = tf.constant(channels.astype(np.int32)), tf.constant(signs)
    weights = tf.constant((1 / np.maximum(used, 1)).astype(np.float32))

    def keep() -> None:
        means = tf.math.unsorted_segment_sum(variable * told, members, len(used)) * weights
        variable.assign(tf.gather(means, members) * told)

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
