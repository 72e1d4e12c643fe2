"""Which multiples of channels cost least: int8 convolutions of many widths, timed or compiled.

``python benchmarks/multiples.py [--pi] [--device NAME]`` times them in turns on this machine, with
``--pi`` on the virtual Raspberry Pi too (an emulator: instructions weigh there, caches do not), and
asks vela what they cost on Ethos-U. A width costs its time divided by its square, which is what its
multiplications are. Of the multiples 4, 8 and 16 the smallest suits a board whose widths cost no
more than a twentieth above what multiples of 16 cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from report import save

from edgepack import keras
from edgepack.data.checks import Slot
from edgepack.data.noise import make_noise
from edgepack.step import Given
from edgepack.steps.convert import Convert
from edgepack.steps.vela import Vela
from edgepack.target import read_target

WIDTHS = tuple(range(16, 65, 4))
MULTIPLES = (4, 8, 16)
DEPTH, SIDE = 3, 14
TOLERANCE = 1.05
ETHOS = ("ethos-u55-128", "ethos-u65-256")


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {width: write(Path(folder), width) for width in WIDTHS}
        found = {options.device: timed(files, options.device, dict(os.environ))}
        if options.pi:
            from boards import virtual_pi

            with virtual_pi() as (name, environment):
                found[name] = timed(files, name, environment, ["--accept-new-host-key"])
        found |= {target: compiled(files, target) for target in ETHOS}
    costs = {name: costs_of(times) for name, times in found.items()}
    headers = (
        "where",
        *(f"multiples of {m}, of those of 16" for m in MULTIPLES),
        "smallest that suits",
    )
    save("multiples", {"costs": costs, "widths": WIDTHS}, headers, [row(*c) for c in costs.items()])


def write(folder: Path, width: int) -> Path:
    """The .tflite of some 1x1 convolutions of a width, in 8 bits, calibrated on noise."""
    keras.start(0)
    layers = keras.tf_keras().layers
    x = image = layers.Input((SIDE, SIDE, width))
    for _ in range(DEPTH):
        x = layers.Conv2D(width, 1, activation="relu")(x)
    model = keras.tf_keras().Model(image, x)
    noise = make_noise([Slot(model.input_names[0], (None, SIDE, SIDE, width), "float32")], 0)
    given = Given(read_target("linux-x86_64"), noise)
    path = folder / f"{width}.tflite"
    path.write_bytes(Convert(io="integer", samples=16).apply(model, given))
    return path


def timed(
    files: dict[int, Path], device: str, environment: dict[str, str], words: list[str] | None = None
) -> dict[int, float]:
    """The median latency of each width in ms, measured in turns."""
    command = [sys.executable, "-m", "edgepack", "bench", *map(str, files.values()), "--json"]
    command += ["--device", device, "--no-history", "--quiet", *(words or [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    benchmarks: list[dict[str, Any]] = json.loads(done.stdout)["benchmarks"]
    latencies = [next(m for m in b["measurements"] if m["metric"] == "latency") for b in benchmarks]
    return {width: float(m["summary"]["median"]) for width, m in zip(files, latencies, strict=True)}


def compiled(files: dict[int, Path], target: str) -> dict[int, float]:
    """The cycles of each width, as vela estimates them."""
    found: dict[int, float] = {}
    for width, path in files.items():
        told: dict[str, Any] = {}
        given = Given(read_target(target), record=told.__setitem__)
        Vela().apply(path.read_bytes(), given)
        found[width] = float(told["ethosu"]["estimates"]["cycles"]["total"])
    return found


def costs_of(times: dict[int, float]) -> dict[int, float]:
    """What each width costs for a multiplication, against the cheapest."""
    each = {width: time / width**2 for width, time in times.items()}
    return {width: cost / min(each.values()) for width, cost in each.items()}


def ratio(costs: dict[int, float], multiple: int) -> float:
    """What widths between two multiples cost when they are cut to this one, of those of 16.

    A wide layer costs less for each multiplication than a narrow one, so widths are compared with
    the line through the multiples of 16.
    """
    whole = [w for w in costs if w % 16 == 0]
    line = {w: np.interp(w, whole, [costs[x] for x in whole]) for w in costs}
    return float(mean(costs[w] / line[w] for w in costs if w % multiple == 0))


def row(where: str, costs: dict[int, float]) -> tuple[str, ...]:
    ratios = {multiple: ratio(costs, multiple) for multiple in MULTIPLES}
    best = next(m for m in MULTIPLES if ratios[m] <= TOLERANCE)
    return (where, *(f"{value:.3f}" for value in ratios.values()), str(best))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="local", help="where to time, as edgepack bench")
    parser.add_argument("--pi", action="store_true", help="on the virtual Raspberry Pi, too")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
