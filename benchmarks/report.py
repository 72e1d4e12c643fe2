"""Where the benchmarks write their results, and what they say of the machine."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from edgepack.store import versions

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """What a result depends on besides the code."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        **versions(),
    }


def save(name: str, result: dict[str, Any]) -> None:
    """Write a result as JSON for the README."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, sort_keys=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
