"""Weights of one or two bits: a sign, or a sign or zero, times one number for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

USUAL = 2
"""With fewer values other than zero in a usual channel, equal ones are a coincidence."""


def is_binary(rows: Array) -> bool:
    """Whether all values of a channel are one number or its negative.

    Weights that nowhere differ in their sign are no such ones: those are constant.

    Args:
        rows: the values of a weight, a row for each output channel.
    """
    magnitudes = np.abs(rows)
    return bool(np.all(magnitudes == magnitudes[:, :1])) and _differ(rows)


def is_ternary(rows: Array) -> bool:
    """Whether the values of a channel are one number, its negative or zero, and each occurs.

    Args:
        rows: the values of a weight, a row for each output channel.
    """
    magnitudes = np.abs(rows)
    largest = magnitudes.max(1, keepdims=True)
    used = magnitudes != 0
    equal = bool(np.all((magnitudes == largest) | ~used))
    enough = np.count_nonzero(used) >= USUAL * np.count_nonzero(used.any(1))
    return equal and bool(enough) and _differ(rows) and not is_binary(rows)


def _differ(rows: Array) -> bool:
    """Whether some channel has both signs."""
    return bool(np.any((rows.min(1) < 0) & (rows.max(1) > 0)))


def packed_bytes(size: int, channels: int, bits: int) -> int:
    """What a weight takes that is packed, with a float32 for the number of each channel.

    Args:
        size: number of values.
        channels: number of output channels.
        bits: of a value: 1 for binary, 2 for ternary ones.
    """
    return -(-size * bits // 8) + 4 * channels
