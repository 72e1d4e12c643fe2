"""Which operators can be rebuilt, and by what: one table."""

from __future__ import annotations

from functools import cache

from edgepack.thawing import activations, arithmetic, images, recurrent, shapes, slices, weighted
from edgepack.thawing.call import Builder


@cache
def builders() -> dict[str, Builder]:
    """Builders by operator code."""
    kinds = (activations, arithmetic, images, recurrent, shapes, slices, weighted)
    return {code: build for kind in kinds for code, build in kind.table().items()}
