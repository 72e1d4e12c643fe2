"""Channels on Fashion-MNIST: half of the multiplications cut away, against the float model.

``python benchmarks/channels.py [--model FILE] [--way NAME]... [--set SETTING=VALUE]...`` takes the
network of networks.py where no model is named. All models are timed as float32 .tflite in one run
of edgepack bench, in turns. That channels are gone is read off the shapes in the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import Limit, build, save

from edgepack.tflite.flatbuffer import read_graph

RECIPE = """
[[steps]]
step = "prune_channels"
[[steps]]
step = "convert"
quantization = "float32"
[[steps]]
step = "strip"
"""
SETTINGS = ("amount=0.5", "epochs=8", "learning_rate=0.002", "samples=2048")
"""Of the step prune_channels, whatever the way."""
WAYS = {
    "taylor": ("importance=taylor",),
    "l1": ("importance=l1",),
    "taylor-spread": ("importance=taylor", "spread=importance"),
}
"""What tells that a channel matters, and whether layers lose different shares; the first is judged.
"""
KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Operators with a kernel, and its axis of output channels."""
HEADERS = ("model", "accuracy", "points lost", "MACs", "parameters", "bytes", "latency ms", "ratio")


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder, name) for name in ("float32", *options.way)}
        whole = built(options, "float32", [], folders["float32"])
        found = {
            way: facts(built(options, "cut", WAYS[way], folders[way]), folders[way], whole)
            for way in options.way
        }
        benched = bench(list(folders.values()), options.device)
    for way in options.way:
        found[way]["latency_ratio"] = benched[way]["median"] / benched["float32"]["median"]
        found[way]["best_ratio"] = benched[way]["minimum"] / benched["float32"]["minimum"]
    told = {
        "model": options.model.name,
        "data": options.data,
        "settings": [*SETTINGS, *options.set],
        "ways": found,
        "latency_ms": benched,
    }
    name = f"channels_{options.model.stem}"
    save(name, told, HEADERS, rows(whole, found, benched), limits(found[options.way[0]]))


def built(options: argparse.Namespace, kind: str, settings: Any, folder: Path) -> dict[str, Any]:
    """The float model, or one that is cut."""
    words = [options.model, "--target", options.target, "--data", options.data, "--quiet"]
    if kind == "float32":
        return build([*words, "--recipe", "float32", "--out", folder])
    recipe = folder.with_suffix(".toml")
    recipe.write_text(RECIPE, encoding="utf-8")
    chosen = [f"prune_channels.{word}" for word in (*SETTINGS, *settings, *options.set)]
    sets = [part for word in chosen for part in ("--set", word)]
    return build([*words, "--recipe", recipe, "--out", folder, *sets])


def facts(made: dict[str, Any], folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    """What is reported of one build."""
    (step,) = (step for step in made["steps"] if step["name"] == "prune_channels")
    told = step["recorded"]
    widths = sorted(layer["after"] for layer in told["channels"].values())
    stored = widths_in((folder / "model.tflite").read_bytes())
    return {
        "accuracy": made["evaluation"]["final"],
        "points_lost": 100 * made["evaluation"]["drop"],
        "costs": told["costs"],
        "channels": told["channels"],
        "remarks": step["remarks"],
        "widths_in_the_file": stored,
        "layers_that_differ": sum(a != b for a, b in zip(widths, sorted(stored), strict=True)),
        "size_bytes": made["model"]["size_bytes"],
        "float_size_bytes": whole["model"]["size_bytes"],
        "seconds": step["seconds"],
    }


def widths_in(data: bytes) -> list[int]:
    """The output channels of each kernel in a .tflite."""
    graph = read_graph(data)
    return [
        graph.tensors[operator.inputs[1]].shape[KERNELS[operator.code]]
        for operator in graph.operators
        if operator.code in KERNELS
    ]


def bench(folders: list[Path], device: str) -> dict[str, dict[str, Any]]:
    """The latencies of bundles that are measured in turns, by their folders' names."""
    words = ["bench", *map(str, folders), "--device", device, "--json", "--quiet", "--no-history"]
    command = [sys.executable, "-m", "edgepack", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(f"edgepack bench failed with {done.returncode}")
    found = {}
    for benchmark in json.loads(done.stdout)["benchmarks"]:
        (summary,) = (m["summary"] for m in benchmark["measurements"] if m["metric"] == "latency")
        summary.pop("outliers")
        found[benchmark["model"]["name"]] = {**summary, "verdict": benchmark["verdict"]["state"]}
    return found


def limits(found: dict[str, Any]) -> list[Limit]:
    macs = found["costs"]["macs"]
    return [
        Limit("MACs of the float model's", macs["after"] / macs["before"], 0.51),
        Limit("latency of the float model's, median", found["latency_ratio"], 0.65),
        Limit("points lost", found["points_lost"], 1.0),
        Limit("layers in the file not as narrow as recorded", found["layers_that_differ"], 0),
    ]


def rows(
    whole: dict[str, Any], found: dict[str, Any], benched: dict[str, Any]
) -> list[tuple[str, ...]]:
    first = next(iter(found.values()))["costs"]
    top = (
        *("float32", f"{100 * whole['evaluation']['final']:.2f} %", ""),
        *(f"{first[word]['before']:,}" for word in ("macs", "parameters")),
        *(f"{whole['model']['size_bytes']:,}", f"{benched['float32']['median']:.4f}", "1.000"),
    )
    return [top, *(row(way, cut, benched[way]) for way, cut in found.items())]


def row(way: str, found: dict[str, Any], benched: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(way, f"{100 * found['accuracy']:.2f} %", f"{found['points_lost']:.2f}"),
        *(f"{found['costs'][word]['after']:,}" for word in ("macs", "parameters")),
        *(f"{found['size_bytes']:,}", f"{benched['median']:.4f}", f"{found['latency_ratio']:.3f}"),
    )


def trained() -> Path:
    """The network of networks.py, trained once and kept in ``build``."""
    from networks import train

    path = Path("build", "separable.keras")
    if not path.is_file():
        train(path)
    return path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; trained now if absent")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--target", default="linux-x86_64", help="that the models are built for")
    parser.add_argument("--device", default="local", help="where they are timed")
    parser.add_argument("--way", action="append", choices=WAYS, help="all of them if absent")
    parser.add_argument("--set", action="append", default=[], help="of the step, such as epochs=1")
    found = parser.parse_args()
    found.model, found.way = found.model or trained(), found.way or list(WAYS)
    return found


if __name__ == "__main__":
    main(arguments())
