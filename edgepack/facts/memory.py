"""``memory``: how much RAM there is, and how much of it a program can still get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import pairs, whole

KEYS = {"ram_kib": "MemTotal", "available_kib": "MemAvailable", "swap_kib": "SwapTotal"}


def command() -> list[str]:
    """Print three lines of /proc/meminfo."""
    return ["grep", "-E", f"^({'|'.join(KEYS.values())}):", "/proc/meminfo"]


def parse(text: str) -> Mapping[str, Any]:
    """``ram_kib`` (without what the firmware keeps), ``available_kib`` and ``swap_kib``."""
    lines = pairs(text, ":")
    sizes = {key: whole(lines.get(line, "").removesuffix("kB")) for key, line in KEYS.items()}
    return {key: size for key, size in sizes.items() if size is not None and size >= 0}
