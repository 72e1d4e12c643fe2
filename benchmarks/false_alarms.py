"""How often ``edgepack diff`` tells equal measurements apart, and finds slower ones.

One model is measured many times; every pair of these is compared, as it is and with the second made
slower by a factor. Beside it stands what the percentiles of the same bootstrap would have said.

``EDGEPACK_MODELS=FOLDER python benchmarks/false_alarms.py [--device NAME] [--times N] [A.tflite]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import Limit, sample_model, save

from edgepack.measuring.benchmark import Benchmark, from_json
from edgepack.measuring.comparison import TOLERANCE
from edgepack.measuring.ratio import median_ratio
from edgepack.measuring.statistics import median, resampled_medians

MODEL = "resnet8_int8.tflite"
SETTINGS = ("--seconds=0.5", "--json", "--quiet", "--no-history")
FACTORS = (1.0, 1.05, 1.1)


@dataclass(frozen=True)
class Found:
    """A ratio and its interval, before the second side is made slower."""

    value: float
    low: float
    high: float


def bench(model: Path, device: str) -> Benchmark:
    """One measurement in three processes."""
    command = [sys.executable, "-m", "edgepack", "bench", str(model), "--device", device]
    done = subprocess.run([*command, *SETTINGS], stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        sys.exit(f"edgepack bench failed with {done.returncode}")
    return from_json(json.loads(done.stdout))[0]


def by_diff(a: Benchmark, b: Benchmark) -> Found:
    """The interval that edgepack uses."""
    found = median_ratio(a.measurement("latency").values, b.measurement("latency").values)
    assert found
    return Found(found.value, found.low, found.high)


def by_percentiles(a: Benchmark, b: Benchmark) -> Found:
    """The percentiles of the ratio of resampled medians."""
    before, after = a.measurement("latency"), b.measurement("latency")
    ratios = resampled_medians(after.values, 1) / resampled_medians(before.values, 0)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Found(median(after.pooled) / median(before.pooled), float(low), float(high))


def shares(found: Sequence[Found], factor: float) -> tuple[float, float]:
    """Which share of pairs is told apart, and which is a regression, in percent."""
    apart = [f.low * factor > 1 or f.high * factor < 1 for f in found]
    worse = [f.low * factor > 1 and f.value * factor > 1 + TOLERANCE for f in found]
    return 100 * sum(apart) / len(found), 100 * sum(worse) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--device", default="local")
    parser.add_argument("--times", type=int, default=24)
    options = parser.parse_args()
    model = options.model or sample_model(MODEL)
    made = [bench(model, options.device) for _ in range(options.times)]
    believed = [m for m in made if m.verdict["state"] != "invalid"]
    pairs = list(itertools.combinations(believed, 2))
    methods = {
        "edgepack diff": [by_diff(a, b) for a, b in pairs],
        "percentiles": [by_percentiles(a, b) for a, b in pairs],
    }
    result = {(m, f): shares(found, f) for m, found in methods.items() for f in FACTORS}
    rows = [
        [method, f"{factor:g}", f"{apart:.1f} %", f"{worse:.1f} %"]
        for (method, factor), (apart, worse) in result.items()
    ]
    facts = {
        "note": "what changes on the machine from one measurement to the next is part of this",
        "model": made[0].model,
        "device": made[0].device["name"],
        "measurements": len(made),
        "invalid": len(made) - len(believed),
        "pairs": len(pairs),
        "medians_ms": [m.measurement("latency").summary().median for m in made],
        "states": [m.verdict["state"] for m in made],
    }
    limits = [Limit("equal ones called a regression, in %", result["edgepack diff", 1.0][1], 5.0)]
    save("false_alarms", facts, ("interval", "B / A", "told apart", "regression"), rows, limits)


if __name__ == "__main__":
    main()
