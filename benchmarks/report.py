"""What the benchmarks share: models, builds, limits, and how results are printed and kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.store import versions
from edgepack.table import render

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Limit:
    """A figure, and the bound that it should keep to.

    Attributes:
        what: the figure in words.
        value: as measured.
        bound: the largest value allowed, or the smallest where ``least``.
        least: whether the bound is a lower one.
    """

    what: str
    value: float
    bound: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps to its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    def words(self) -> tuple[str, ...]:
        """A row of a table."""
        bound = f"{'at least' if self.least else 'at most'} {self.bound:,g}"
        return self.what, number(self.value), bound, "met" if self.met else "NOT MET"

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        side = "at_least" if self.least else "at_most"
        return {"what": self.what, "value": self.value, side: self.bound, "met": self.met}


def number(value: float) -> str:
    """A whole number in full, any other with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def environment() -> dict[str, Any]:
    """What a result depends on besides the code."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        **versions(),
    }


def sample_model(name: str) -> Path:
    """A sample model in the folder that ``EDGEPACK_MODELS`` names; ends the program without one."""
    folder = os.environ.get("EDGEPACK_MODELS")
    if not folder:
        sys.exit(f"set EDGEPACK_MODELS to a folder that holds {name}; see benchmarks/README.md")
    path = Path(folder) / name
    if not path.is_file():
        sys.exit(f"there is no {path}; see benchmarks/README.md for where it comes from")
    return path


def build(words: Sequence[str | Path], cache: str | Path | None = None) -> dict[str, Any]:
    """What ``edgepack build ... --json`` prints; a failed build ends the program with its error."""
    command = [sys.executable, "-m", "edgepack", "build", *map(str, words), "--json"]
    chosen = {"XDG_CACHE_HOME": str(cache)} if cache else {}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | chosen
    )
    if done.returncode:
        sys.exit(f"edgepack build {' '.join(map(str, words))} failed with {done.returncode}")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def figures(made: dict[str, Any]) -> dict[str, float]:
    """Size, ratios and fidelity of a build with one output."""
    final, float32 = made["model"], made["baseline"]
    fidelity = next(iter(made["evaluation"]["fidelity"].values()))
    return {
        "size_bytes": final["size_bytes"],
        "float_size_bytes": float32["size_bytes"],
        "size_ratio": final["size_bytes"] / float32["size_bytes"],
        "zlib_bytes": final["zlib_bytes"],
        "float_zlib_bytes": float32["zlib_bytes"],
        "zlib_ratio": final["zlib_bytes"] / float32["zlib_bytes"],
        "cosine": fidelity["cosine"],
        "sqnr_db": fidelity["sqnr_db"],
        "top1_agreement": fidelity["top1_agreement"],
    }


def save(
    name: str,
    facts: dict[str, Any],
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    limits: Sequence[Limit] = (),
) -> None:
    """Print a table and what became of the limits, and keep both with all facts as JSON."""
    align = "l" + "r" * (len(headers) - 1)
    print(render(rows, headers, align))
    if limits:
        print("\n" + render([limit.words() for limit in limits], LIMIT_HEADERS, "lrrl"))
    result = {
        **facts,
        "environment": environment(),
        "table": {"headers": list(headers), "rows": [list(row) for row in rows]},
        "limits": [limit.plain() for limit in limits],
        "limit_rows": [list(limit.words()) for limit in limits],
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, sort_keys=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


LIMIT_HEADERS = ("figure", "measured", "limit", "")
