"""Where the zeros of a weight may lie: single weights, or what lies together along the inputs."""

from __future__ import annotations

BLOCKS = {"1x4": 4, "1x16": 16}
"""Patterns whose zeros lie in blocks of so many input channels, on convolutions too."""

PATTERNS = ("unstructured", "2:4", *BLOCKS, "block")


def fits(channels: int, pattern: str) -> bool:
    """Whether a weight with so many input channels has room for a pattern."""
    return channels >= {"2:4": 4, **BLOCKS}.get(pattern, 1)
