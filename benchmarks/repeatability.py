"""How far the medians of one model lie apart when a board is asked ten times.

The board is the lab's virtual Raspberry Pi, whose clock counts instructions, so that what differs
from run to run is edgepack's; or any other by ``--device``.

``EDGEPACK_MODELS=FOLDER python benchmarks/repeatability.py [--device NAME] [A.tflite]``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boards import virtual_pi
from report import Limit, sample_model, save

MODEL = "dscnn_int8.tflite"
LIMIT_PERCENT = 1.0
SETTINGS = ("--processes=2", "--seconds=0.2")


def bench(model: Path, device: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What one ``edgepack bench --json`` found."""
    words = ["bench", str(model), "--device", device, *SETTINGS, "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "edgepack", *words],
        stdout=subprocess.PIPE,
        env=dict(environment),
        check=False,
    )
    if not done.stdout:
        sys.exit(f"edgepack bench failed with {done.returncode}")
    (found,) = json.loads(done.stdout)["benchmarks"]
    return dict(found)


def latency(found: Mapping[str, Any]) -> Mapping[str, Any]:
    (summary,) = (m["summary"] for m in found["measurements"] if m["metric"] == "latency")
    return dict(summary)


@contextmanager
def place(device: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The device that was named, or the virtual Pi."""
    if device:
        yield device, dict(os.environ)
        return
    with virtual_pi() as found:
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--device", default="")
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    model = options.model or sample_model(MODEL)
    with place(options.device) as (name, environment):
        found = [bench(model, name, environment) for _ in range(options.times)]
    medians = [latency(f)["median"] for f in found]
    spread = 100 * (max(medians) - min(medians)) / sorted(medians)[len(medians) // 2]
    rows = [
        [
            str(i + 1),
            f"{s['median']:.4f}",
            f"{s['mad']:.4f}",
            str(s["count"]),
            f["verdict"]["state"],
        ]
        for i, f in enumerate(found)
        for s in [latency(f)]
    ]
    facts = {
        "model": found[0]["model"],
        "device": found[0]["board"]["model"],
        "settings": found[0]["settings"],
        "medians_ms": medians,
        "note": "the virtual board's clock counts instructions: its times are no real board's",
    }
    limits = [Limit("medians lie apart by, in %", spread, LIMIT_PERCENT)]
    save("repeatability", facts, ("run", "median ms", "MAD ms", "values", "verdict"), rows, limits)


if __name__ == "__main__":
    main()
