"""Four bits but for the layers that they cost most, on Fashion-MNIST's network.

``python benchmarks/sensitivity.py`` asks ``edgepack sensitivity`` for recipes that protect more and
more layers, and builds each beside all layers in 8 and all in 4 bits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fashion import trained
from report import Limit, build, save

COUNTS = (1, 2, 3, 4)
"""Layers that are protected."""
MOST_BYTES = 0.75
"""Of all layers in 8 bits, for a recipe to be chosen."""
POINTS, DECIBELS = 1.0, 3.0
HEADERS = ("weights", "bytes", "of int8's", "accuracy", "points over int4", "SQNR dB", "dB over")


def main(options: argparse.Namespace) -> None:
    model, folder = options.model or trained(), Path("build", "sensitivity")
    folder.mkdir(parents=True, exist_ok=True)
    study = layers(model, options.data, folder)
    recipes = {"int8": "frozen-int8", "int4": str(all_four(folder))}
    recipes |= {f"int4, {n} in int8": str(folder / f"protect-{n}.toml") for n in COUNTS}
    common = [model, "-t", "rpi4", "-d", options.data, "--quiet"]
    found = {
        name: facts(build([*common, "-r", recipe, "--out", str(folder / Path(recipe).stem)]))
        for name, recipe in recipes.items()
    }
    for variant in found.values():
        compare(variant, found["int8"], found["int4"])
    told = {"model": model.name, "data": options.data, "layers": study, "variants": found}
    rows = [row(name, variant) for name, variant in found.items()]
    save("sensitivity", told, HEADERS, rows, limits(found))


def layers(model: Path, data: str, folder: Path) -> list[dict[str, Any]]:
    """What each layer costs; leaves a recipe for each of `COUNTS`, and a plot."""
    rows: list[dict[str, Any]] = []
    for count in COUNTS:
        words = ["sensitivity", model, "-d", data, "--changes", "int8,int4", "--samples", 1000]
        words += ["--protect", count, "--out", folder / f"protect-{count}.toml", "--json"]
        words += ["--plot", folder / "layers.svg", "--quiet"]
        command = [sys.executable, "-m", "edgepack", *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = json.loads(done.stdout)["layers"]
    return rows


def all_four(folder: Path) -> Path:
    """The recipe of the protected ones, without their rules."""
    path = folder / "all-int4.toml"
    lines = (folder / f"protect-{COUNTS[0]}.toml").read_text(encoding="utf-8").split("\n")
    begin, end = lines.index("rules = ["), lines.index("]")
    path.write_text("\n".join(lines[:begin] + lines[end + 1 :]), encoding="utf-8")
    return path


def facts(made: dict[str, Any]) -> dict[str, Any]:
    """What is reported of one build."""
    evaluation = made["evaluation"]
    rules = [step["settings"].get("rules", []) for step in made["steps"]]
    return {
        "size_bytes": made["model"]["size_bytes"],
        "accuracy": evaluation["final"],
        "float_accuracy": evaluation["baseline"],
        "sqnr_db": min(figure["sqnr_db"] for figure in evaluation["fidelity"].values()),
        "rules": [rule for listed in rules for rule in listed],
        "samples": evaluation["samples"],
    }


def compare(found: dict[str, Any], int8: dict[str, Any], int4: dict[str, Any]) -> None:
    """Add what it is beside all layers in 8 and in 4 bits."""
    found["of_int8"] = found["size_bytes"] / int8["size_bytes"]
    found["points_over"] = 100 * (found["accuracy"] - int4["accuracy"])
    found["db_over"] = found["sqnr_db"] - int4["sqnr_db"]


def limits(found: dict[str, dict[str, Any]]) -> list[Limit]:
    """Of the protected model that gains most among those that are small enough.

    Points or decibels: the accuracy of 10,000 images has steps of the size of what is looked for.
    """
    protected = [v for name, v in found.items() if " in " in name]
    small = [variant for variant in protected if variant["of_int8"] <= MOST_BYTES] or protected[:1]
    best = max(small, key=lambda variant: variant["db_over"])
    gained = Limit("dB of SQNR over int4 at that size", best["db_over"], DECIBELS, least=True)
    if not gained.met:
        gained = Limit("points over int4 at that size", best["points_over"], POINTS, least=True)
    return [
        Limit("bytes of int8's, with protected layers", best["of_int8"], MOST_BYTES),
        gained,
    ]


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(name, f"{found['size_bytes']:,}", f"{found['of_int8']:.3f}"),
        *(f"{100 * found['accuracy']:.2f} %", f"{found['points_over']:+.2f}"),
        *(f"{found['sqnr_db']:.1f}", f"{found['db_over']:+.1f}"),
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; trained now if absent")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
