"""Random inputs that stand in for data where there is none; whatever uses them says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.data.checks import Slot
from edgepack.data.dataset import Dataset, Split
from edgepack.store import key_of

SAMPLES = 64
MOST_VALUES = 1 << 26
"""Of one input in all samples: of larger inputs there are fewer."""
SOURCE = "noise"


def make_noise(inputs: Sequence[Slot], seed: int) -> Dataset:
    """A data set of noise for a model's inputs.

    Args:
        inputs: of the model; an unknown dimension becomes 16.
        seed: of the random numbers.

    Returns:
        Uniform numbers from low to high for real inputs, 0 and 1 for integers, which any table
        of an embedding has. There are no labels.
    """
    rng = np.random.default_rng(seed)
    largest = max((math.prod(_shape(slot)) for slot in inputs), default=1)
    count = min(SAMPLES, max(2, MOST_VALUES // max(1, largest)))
    splits = [
        Split({slot.name: _samples(rng, slot, count) for slot in inputs})
        for _ in ("training", "test")
    ]
    fingerprint = key_of(
        source=SOURCE, inputs=[asdict(slot) for slot in inputs], seed=seed, samples=count
    )
    return Dataset(SOURCE, fingerprint, splits[0], None, splits[1])


def _shape(slot: Slot) -> tuple[int, ...]:
    return tuple(16 if n is None else n for n in slot.shape[1:])


def _samples(rng: np.random.Generator, slot: Slot, count: int) -> NDArray[Any]:
    size = (count, *_shape(slot))
    if np.dtype(slot.dtype).kind in "iub":
        return rng.integers(0, 2, size).astype(slot.dtype)
    return (slot.low + (slot.high - slot.low) * rng.random(size, np.float32)).astype(slot.dtype)
