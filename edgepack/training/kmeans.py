"""One-dimensional k-means: few values that stand for many, with zeros kept where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

INITIALIZATIONS = ("kmeans++", "linear", "density", "random")
ROUNDS = 100


def share(values: Array, clusters: int, start: str, rng: np.random.Generator) -> Array:
    """Replace each value by the mean of its cluster.

    Where there are zeros they are a cluster of their own and stay zero.

    Args:
        values: floats of any shape.
        clusters: the most distinct values that may be left.
        start: one of `INITIALIZATIONS`.
        rng: what random starts are drawn with.

    Returns:
        The new values, in the shape of the old ones.
    """
    flat = values.ravel()
    nonzero = flat != 0
    points = np.sort(flat[nonzero].astype(np.float64))
    count = clusters - int(not nonzero.all())
    if len(np.unique(points)) <= count:
        return values.copy()
    centroids = lloyd(points, initial(points, count, start, rng))
    new = np.zeros_like(flat)
    new[nonzero] = centroids[nearest(flat[nonzero], centroids)]
    return new.reshape(values.shape)


def initial(points: Array, count: int, start: str, rng: np.random.Generator) -> Array:
    """The first centroids, sorted.

    Args:
        points: sorted values.
        count: how many.
        start: ``linear``: evenly from the least to the greatest; ``density``: evenly by rank;
            ``random``: uniformly between them; ``kmeans++``: by squared distance from those drawn
            before (Arthur and Vassilvitskii 2007, section 2.2).
        rng: what random ones are drawn with.
    """
    if start == "linear":
        evenly: Array = np.linspace(points[0], points[-1], count)
        return evenly
    if start == "density":
        ranks = (np.arange(count) + 0.5) / count * (len(points) - 1)
        return np.interp(ranks, np.arange(len(points)), points)
    if start == "random":
        return np.sort(rng.uniform(points[0], points[-1], count))
    centroids = [rng.choice(points)]
    distances = np.square(points - centroids[0])
    while len(centroids) < count:
        centroids.append(rng.choice(points, p=distances / distances.sum()))
        distances = np.minimum(distances, np.square(points - centroids[-1]))
    return np.sort(centroids)


def nearest(points: Array, centroids: Array) -> Array:
    """The index of the centroid next to each point; centroids are sorted."""
    found: Array = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, points)
    return found


def lloyd(points: Array, centroids: Array) -> Array:
    """Move centroids to the means of their points until nothing moves (Lloyd 1982).

    Args:
        points: sorted values.
        centroids: sorted; one that no point is next to stays where it is.
    """
    sums = np.concatenate([[0.0], np.cumsum(points)])
    for _ in range(ROUNDS):
        cuts = np.searchsorted(points, (centroids[1:] + centroids[:-1]) / 2)
        cuts = np.concatenate([[0], cuts, [len(points)]])
        counts = np.diff(cuts)
        means = (sums[cuts[1:]] - sums[cuts[:-1]]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = np.sort(moved)
    return centroids
