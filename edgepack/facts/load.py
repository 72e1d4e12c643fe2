"""``load``: how many programs wanted the CPU lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import number

KEYS = ("load_1min", "load_5min", "load_15min")


def command() -> list[str]:
    """Print /proc/loadavg."""
    return ["cat", "/proc/loadavg"]


def parse(text: str) -> Mapping[str, Any]:
    """``load_1min``, ``load_5min`` and ``load_15min``."""
    values = [number(word) for word in text.split()[:3]]
    if len(values) < len(KEYS) or None in values:
        return {}
    return dict(zip(KEYS, values, strict=True))
