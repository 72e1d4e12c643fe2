"""Robust statistics of raw values: medians, how they vary, outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTLIER_Z = 10.0
"""Modified z-scores above this are outliers: |x - median| / MAD > 14.8."""

RESAMPLES = 1000
BLOCKS = 20
FEWEST_BLOCKS = 5
BLOCK_VALUES = 10
"""The fewest values of a block, for neighbours in time to be in it, unless there are too few."""

SEGMENTS = 500


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    return percentile(values, 50)


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile, linear between the nearest two values (definition 7 of Hyndman & Fan)."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def mad(values: Sequence[float]) -> float:
    """The median absolute deviation from the median, not scaled."""
    middle = median(values)
    return median([abs(value - middle) for value in values])


def outliers(values: Sequence[float]) -> list[int]:
    """Where values stand whose modified z-score is above `OUTLIER_Z`.

    The scale is MAD / 0.6745, or the mean absolute deviation / 0.7979 where more than half of the
    values are equal (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
    """
    middle = median(values)
    distances = [abs(value - middle) for value in values]
    scale = median(distances) / 0.6745 or sum(distances) / len(distances) / 0.7979
    return [i for i, distance in enumerate(distances) if distance > OUTLIER_Z * scale]


def resampled_medians(processes: Sequence[Sequence[float]], seed: int = 0) -> Any:
    """Medians of `RESAMPLES` bootstrap samples, as an array.

    Processes are drawn with replacement, then blocks of consecutive values within each, because
    neighbours in time resemble one another and processes differ (Kalibera and Jones, Rigorous
    Benchmarking in Reasonable Time, ISMM 2013; Kuensch, The Jackknife and the Bootstrap, 1989).
    """
    import numpy as np

    random = np.random.default_rng(seed)
    blocks = [np.array_split(np.asarray(p, float), blocks_of(p)) for p in processes]
    values = np.concatenate([block for process in blocks for block in process])
    sizes = [len(block) for process in blocks for block in process]
    order = np.argsort(values, kind="stable")
    block_of = np.repeat(np.arange(len(sizes)), sizes)[order]
    counts = _drawn_blocks([len(process) for process in blocks], random)
    return values[order[_weighted_middles(block_of, counts)]]


def blocks_of(process: Sequence[float]) -> int:
    """Into how many blocks the values of a process are split."""
    wanted = max(FEWEST_BLOCKS, len(process) // BLOCK_VALUES)
    return min(BLOCKS, wanted, len(process))


def _weighted_middles(block_of: Any, counts: Any) -> Any:
    """Where the sorted values reach half of the weight that each resample gives to their blocks.

    The segment where that happens is found first, so that only its values are added up one by one.
    """
    import numpy as np

    segments = np.array_split(block_of, min(SEGMENTS, len(block_of)))
    starts = np.cumsum([0, *map(len, segments)])
    sizes = np.stack([np.bincount(s, minlength=counts.shape[1]) for s in segments])
    reached = np.cumsum(counts.astype(float) @ sizes.T, axis=1)
    half = reached[:, -1] / 2
    found = np.sum(reached < half[:, None], axis=1)
    if len(segments) == len(block_of):
        return found
    for i, segment in enumerate(found):
        before = reached[i, segment - 1] if segment else 0.0
        weights = before + np.cumsum(counts[i][segments[segment]])
        found[i] = starts[segment] + np.searchsorted(weights, half[i])
    return found


def _drawn_blocks(blocks_per_process: list[int], random: Any) -> Any:
    """How often each resample draws each block: [RESAMPLES, blocks]."""
    import numpy as np

    processes = len(blocks_per_process)
    times = random.multinomial(processes, [1 / processes] * processes, RESAMPLES)
    drawn = [
        random.multinomial(times[:, i] * count, [1 / count] * count)
        for i, count in enumerate(blocks_per_process)
    ]
    return np.concatenate(drawn, axis=1)
