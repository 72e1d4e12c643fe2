"""Whether zeros save time where the forecast says so: XNNPACK's sparse kernels on a virtual Pi.

``python benchmarks/sparse_speed.py [--model FILE] [--size N]``. A depthwise-separable
network is pruned to 85 % zeros, once with paddings as everybody writes them and once after the
step unblock. ``edgepack sparsity`` foretells what each is worth on a Raspberry Pi 4 with LiteRT and
with tflite-runtime and on this machine, then measures the same weights in dense and in sparse
encoding in turns. Without ``--model`` the weights are random: only time is judged, no accuracy. The
virtual Pi counts instructions, so that the ratio is what counts, not the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards import virtual_pi
from report import Limit, build, save

RATIO = 0.5
SECONDS = 0.5
"""Shortest time of timed runs in each process."""
LITERT, TFLITE = "ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"
WIDTHS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
"""Channels and stride of each depthwise-separable block."""
PLAIN = """\
description = "85 % zeros, and nothing done about what blocks"
[[steps]]
step = "prune"
sparsity = 0.85
[[steps]]
step = "convert"
quantization = "float32"
[[steps]]
step = "strip"
"""
HEADERS = ("case", "forecast", "estimate", "dense ms", "sparse ms", "sparse / dense", "held")


@dataclass(frozen=True)
class Case:
    """One model on one runtime: what is foretold, and whether it comes true."""

    name: str
    model: Path
    target: str
    runtime: str
    faster: bool
    runs: int = 10
    processes: int = 3


def main(options: argparse.Namespace) -> None:
    folder = Path("build", "sparse-speed")
    folder.mkdir(parents=True, exist_ok=True)
    model = options.model or network(folder / "separable.keras", options.size)
    free, blocked = bundles(model, folder)
    rows: dict[str, dict[str, Any]] = {}
    here = f"linux-{platform.machine()}"
    slow = here == "linux-x86_64"
    local = Case("unblocked, this machine", free, here, "", not slow, runs=500, processes=8)
    rows[local.name] = judged(local, "local", os.environ)
    with virtual_pi() as (device, environment):
        for case in (
            Case("unblocked, Pi 4, LiteRT", free, "rpi4", LITERT, faster=True),
            Case("as written, Pi 4, LiteRT", blocked, "rpi4", LITERT, faster=False),
            Case("unblocked, Pi 4, tflite-runtime", free, "rpi4", TFLITE, faster=False),
        ):
            rows[case.name] = judged(case, device, environment)
    weights = options.model.name if options.model else "random"
    ratio = rows["unblocked, Pi 4, LiteRT"]["proof"]["ratio"]
    right = sum(bool(row["right"] and row["proof"]["held"]) for row in rows.values())
    limits = [
        Limit("time of sparse over dense encoding, Pi 4 with LiteRT", ratio, RATIO),
        Limit("forecasts that were right and held", right, len(rows), least=True),
    ]
    facts = {"weights": weights, "sparsity": 0.85, "size": options.size, "cases": rows}
    save("sparse_speed", facts, HEADERS, [line(*row) for row in rows.items()], limits)


def network(path: Path, size: int) -> Path:
    """A network of depthwise-separable blocks with random weights, as a Keras file."""
    from edgepack import keras

    keras.start(0)
    layers = keras.tf_keras().layers
    x = image = layers.Input((size, size, 3), name="image")
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="first")(x)
    x = layers.ReLU(6.0, name="first_relu")(layers.BatchNormalization(name="first_norm")(x))
    for i, (width, stride) in enumerate(WIDTHS):
        for name, layer in (
            (f"depthwise_{i}", layers.DepthwiseConv2D(3, stride, "same", use_bias=False)),
            (f"pointwise_{i}", layers.Conv2D(width, 1, use_bias=False)),
        ):
            layer._name = name
            x = layers.BatchNormalization(name=f"{name}_norm")(layer(x))
            x = layers.ReLU(6.0, name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    scores = layers.Dense(10, activation="softmax", name="scores")(x)
    keras.tf_keras().Model(image, scores).save(path)
    return path


def bundles(model: Path, folder: Path) -> tuple[Path, Path]:
    """The model pruned, once with and once without the step unblock."""
    recipe = folder / "plain.toml"
    recipe.write_text(PLAIN, encoding="utf-8")
    made = []
    for name, chosen in (("unblocked", "sparse-float32"), ("plain", str(recipe))):
        place = folder / name
        words = [model, "-t", "rpi4", "-r", chosen, "--set", "prune.epochs=0", "--out", place]
        build([*words, "--no-eval", "--quiet"])
        made.append(place)
    return made[0], made[1]


def judged(case: Case, device: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What ``edgepack sparsity`` finds, and whether the forecast is the one that is due."""
    words = ["sparsity", case.model, "-t", case.target, "--device", device, "--json", "--quiet"]
    words += ["--runs", case.runs, "--processes", case.processes, "--seconds", SECONDS]
    words += ["--accept-new-host-key"]
    words += ["--runtime-version", case.runtime] if case.runtime else []
    command = [sys.executable, "-m", "edgepack", *map(str, words)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**environment}
    )
    if done.returncode not in (0, 1):
        sys.exit(f"edgepack {' '.join(map(str, words))} failed with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{case.name}: {found['proof']['ratio']:.3f}", file=sys.stderr, flush=True)
    return {**found, "right": found["faster"] == case.faster}


def line(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    proof = found["proof"]
    times = [f"{proof[encoding]['latency_ms']:.3f}" for encoding in ("dense", "sparse")]
    held = {True: "yes", False: "no", None: "cannot be told"}[proof["held"]]
    told = "faster" if found["faster"] else "no gain"
    return name, told, f"{found['ratio']:.2f}", *times, f"{proof['ratio']:.3f}", held


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained network; random weights if absent")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
