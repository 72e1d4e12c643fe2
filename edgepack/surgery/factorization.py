"""Writes kernels as products of smaller ones, and tells what of them each rank keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""A kernel ``[*window, inputs, outputs]``; a dense layer's window has no dimensions."""

Shape = tuple[int, ...]


def split(kernel: Array, rank: int) -> list[Array]:
    """Two kernels, to be applied one after the other, whose product is nearest by least squares.

    Without a window, or with one of ones, it is the SVD. Otherwise the first kernel has the
    window's first dimension and the second the others: k x 1, then 1 x k (Jaderberg et al. 2014,
    arXiv:1405.3866, scheme 2; in closed form Tai et al. 2016, arXiv:1511.06067, theorem 1).

    Args:
        kernel: ``[*window, inputs, outputs]``.
        rank: channels between the two.
    """
    first, second = split_shapes(kernel.shape, rank)
    u, s, v = np.linalg.svd(_halves(kernel), full_matrices=False)
    root = np.sqrt(s[:rank])
    after = (root[:, None] * v[:rank]).reshape(rank, *second[:-2], second[-1])
    return [(u[:, :rank] * root).reshape(first), np.moveaxis(after, 0, -2)]


def split_shapes(shape: Shape, rank: int) -> list[Shape]:
    """The shapes of what `split` gives."""
    *window, inputs, outputs = shape
    ones = [1] * len(window)
    return [
        (*window[:1], *ones[1:], inputs, rank),
        (*ones[:1], *window[1:], rank, outputs),
    ]


def split_energy(kernel: Array) -> NDArray[np.float64]:
    """The shares of the squared singular values that the ranks 1, 2, ... of `split` keep."""
    s = np.linalg.svd(_halves(kernel), compute_uv=False).astype(np.float64)
    return _shares(np.cumsum(s**2))


def _halves(kernel: Array) -> Array:
    """The kernel as a matrix: first dimension of the window and inputs, by the rest."""
    inputs = kernel.ndim - 2
    rows = [0, inputs] if inputs else [0]
    columns = [axis for axis in range(kernel.ndim) if axis not in rows]
    count = int(np.prod([kernel.shape[axis] for axis in rows]))
    return kernel.transpose(rows + columns).reshape(count, -1)


def tucker(kernel: Array, ranks: Shape, iterations: int = 0) -> list[Array]:
    """Up to three kernels: fewer channels, the window on these, and back to all channels.

    Tucker-2 (Kim et al. 2016, arXiv:1511.06530, equations 2 and 3) by the higher-order SVD. A rank
    of all channels leaves out the kernel that would only turn them.

    Args:
        kernel: ``[*window, inputs, outputs]``.
        ranks: input and output channels of the core.
        iterations: of higher-order orthogonal iteration (De Lathauwer et al. 2000, SIAM J. Matrix
            Anal. Appl. 21(4)), none of which makes the error larger.
    """
    u, v = (_basis(kernel, axis)[:, :rank] for axis, rank in zip((-2, -1), ranks, strict=True))
    for _ in range(iterations):
        u = _basis(kernel @ v, -2)[:, : ranks[0]]
        v = _basis(u.T @ kernel, -1)[:, : ranks[1]]
    ones = (1,) * (kernel.ndim - 2)
    factors = [kernel]
    if ranks[0] < kernel.shape[-2]:
        factors = [u.reshape(*ones, *u.shape), u.T @ factors[-1]]
    if ranks[1] < kernel.shape[-1]:
        factors = [*factors[:-1], factors[-1] @ v, v.T.reshape(*ones, *v.T.shape)]
    return factors


def tucker_shapes(shape: Shape, ranks: Shape) -> list[Shape]:
    """The shapes of what `tucker` gives."""
    *window, inputs, outputs = shape
    ones = [1] * len(window)
    before = [(*ones, inputs, ranks[0])] if ranks[0] < inputs else []
    after = [(*ones, ranks[1], outputs)] if ranks[1] < outputs else []
    return [*before, (*window, *ranks), *after]


def tucker_energy(kernel: Array) -> NDArray[np.float64]:
    """The shares of energy that pairs of ranks keep, ``[inputs, outputs]``, each from 1 on.

    The bases are orthonormal, so that what is lost is what a smaller core leaves out.
    """
    core = (_basis(kernel, -2).T @ kernel @ _basis(kernel, -1)).astype(np.float64)
    squares = (core**2).sum(tuple(range(kernel.ndim - 2)))
    return _shares(squares.cumsum(0).cumsum(1))


def _basis(kernel: Array, axis: int) -> Array:
    """As many directions as a kernel has along one dimension, the strongest first."""
    unfolded = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    is_tall = unfolded.shape[0] > unfolded.shape[1]
    basis: Array = np.linalg.svd(unfolded, full_matrices=is_tall)[0]
    return basis


def _shares(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    total = energy.flat[-1]
    return np.minimum(energy / total, 1.0) if total > 0 else np.ones_like(energy)


def factorize(kernel: Array, kind: str, ranks: Shape, iterations: int = 0) -> list[Array]:
    """The kernels in a kernel's place.

    Args:
        kernel: ``[*window, inputs, outputs]``.
        kind: ``svd``, ``spatial`` or ``tucker``; empty to leave it whole, which gives none.
        ranks: one for the first two, two for the last.
        iterations: of `tucker`.
    """
    if not kind:
        return []
    if kind == "tucker":
        return tucker(kernel, ranks, iterations)
    return split(kernel, *ranks)


def full_ranks(shape: Shape, kind: str) -> Shape:
    """The ranks at which a factorization of such a kernel is exact."""
    *window, inputs, outputs = shape
    if kind == "tucker":
        return inputs, outputs
    return (min(prod(window[:1]) * inputs, prod(window[1:]) * outputs),)


def product(factors: Sequence[Array]) -> Array:
    """The kernel that does what kernels do one after another; along no dimension of the window may
    more than one be larger than 1.
    """
    return reduce(np.matmul, factors)


def error(kernel: Array, factors: Sequence[Array]) -> float:
    """How far the product of factors is from a kernel, relative to the kernel's norm."""
    norm = float(np.linalg.norm(kernel))
    return float(np.linalg.norm(kernel - product(factors))) / norm if norm else 0.0


def owners(windows: Sequence[Shape]) -> list[int]:
    """Which of several kernels takes the stride and the dilation of each dimension of the window.

    That is the one that is larger than 1 there; without one, the first, after which less is left to
    compute.
    """
    return [
        next((i for i, size in enumerate(along) if size > 1), 0)
        for along in zip(*windows, strict=True)
    ]
