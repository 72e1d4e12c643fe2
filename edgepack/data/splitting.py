"""Which samples are held out: seeded, so that it is the same everywhere and every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 0


def hold_out(
    count: int, share: float, labels: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Divide ``count`` samples into those kept and those held out, both in ascending order.

    Args:
        count: the number of samples.
        share: the fraction held out; at least one sample of every group that has two.
        labels: class numbers ``[count]``; each class is divided alike where they are given,
            unless every sample is a class of its own.
    """
    import numpy as np

    groups = np.zeros(count, np.int64) if labels is None else labels
    chance = np.random.default_rng(SEED)
    held = np.zeros(count, bool)
    for group in np.unique(groups):
        members = chance.permutation(np.flatnonzero(groups == group))
        number = min(max(1, round(share * len(members))), len(members) - 1)
        held[members[:number]] = True
    if labels is not None and count > 1 and not held.any():
        return hold_out(count, share)
    return np.flatnonzero(~held), np.flatnonzero(held)
