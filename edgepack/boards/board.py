"""A board as it was found: what every fact about it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Python:
    """An interpreter on a board.

    Attributes:
        path: what starts it.
        version: such as (3, 11).
        architecture: of its processes as pip names it: aarch64, armv7l, x86_64, ...; it may differ
            from the kernel's.
        packages: versions of numpy and of the runtimes that it can import, by distribution name.
    """

    path: str
    version: tuple[int, int]
    architecture: str
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """What one look at a device found.

    Attributes:
        facts: what each fact of ``edgepack.facts`` found, by its name; empty where the device
            does not tell.
    """

    facts: Mapping[str, Mapping[str, Any]]
