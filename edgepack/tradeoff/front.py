"""The Pareto front: what no other variant beats in cost and in quality at once."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points no other one dominates, by rising cost.

    A point is dominated by another that costs no more and is no worse, and is better in one of the
    two. Of equal points all are on the front.

    Args:
        points: cost, of which less is better, and quality, of which more is better.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    found: list[int] = []
    for i in order:
        best = points[found[-1]] if found else None
        if best is None or points[i][1] > best[1] or points[i] == best:
            found.append(i)
    return found
