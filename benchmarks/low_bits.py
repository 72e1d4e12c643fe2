"""Weights of one and of two bits in all layers but the first and the last, on Fashion-MNIST.

``python benchmarks/low_bits.py [--model FILE]... [--set STEP.SETTING=VALUE]...`` binarizes and
ternarizes trained networks, by default the separable one of networks.py. Depthwise layers are taken
too with ``--set binarize.depthwise=true``. Sizes at one or two bits are counted, not deployed:
nothing packs them yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fashion import trained
from report import Limit, build, save

RECIPES = {"binarize": 1, "ternarize": 2}
"""Recipes, and the bits of a weight."""
LEAST_CLAIM, MOST_CLAIM = 10.0, 30.0
"""Per cent of accuracy that the literature says are lost."""
HEADERS = (
    *("network", "recipe", "float accuracy", "accuracy", "points lost", "weights of few bits"),
    *("float32, bytes", "packed, bytes", "times smaller", "these layers alone", "claimed"),
    *("deployed, bytes", "zlib"),
)


def main(options: argparse.Namespace) -> None:
    found = {
        f"{model.stem}, {recipe}": facts(made(model, recipe, options), bits)
        for model in options.model or [trained()]
        for recipe, bits in RECIPES.items()
        if recipe in (options.recipe or RECIPES)
    }
    rows = [row(name, variant) for name, variant in found.items()]
    save("low_bits", {"data": options.data, "variants": found}, HEADERS, rows, limits(found))


def made(model: Path, recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a build of the network by the recipe tells."""
    words = [model, "-t", "rpi4", "-r", recipe, "-d", options.data, "--quiet"]
    words += ["--out", f"build/low_bits/{model.stem}-{recipe}"]
    chosen = [word for word in options.set if word.startswith(f"{recipe}.")]
    return build([*words, *(word for setting in chosen for word in ("--set", setting))])


def facts(told: dict[str, Any], bits: int) -> dict[str, Any]:
    """What is reported of one build."""
    evaluation = told["evaluation"]
    step = next(step for step in told["steps"] if "packing" in step["recorded"])
    packing = step["recorded"]["packing"]
    whole = packing["float_bytes"] + packing["others_bytes"]
    packed = packing["packed_bytes"] + packing["others_bytes"]
    return {
        "float_accuracy": evaluation["baseline"],
        "accuracy": evaluation["final"],
        "points_lost": 100 * evaluation["drop"],
        "samples": evaluation["samples"],
        "packing": packing,
        "float_bytes": whole,
        "packed_bytes": packed,
        "times_smaller": whole / packed,
        "layers_times_smaller": packing["float_bytes"] / packing["packed_bytes"],
        "claimed_times_smaller": 32 / bits,
        "size_bytes": told["model"]["size_bytes"],
        "zlib_bytes": told["model"]["zlib_bytes"],
        "float_size_bytes": told["baseline"]["size_bytes"],
        "settings": step["settings"],
        "seconds": step["seconds"],
        "structure": {word: told["structure"][word] for word in ("binary", "ternary")},
    }


def limits(found: dict[str, dict[str, Any]]) -> list[Limit]:
    """The losses beside the least that the literature claims."""
    return [
        Limit(f"{name}: points lost", variant["points_lost"], LEAST_CLAIM)
        for name, variant in found.items()
    ]


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        *name.split(", "),
        *(f"{100 * found[key]:.2f} %" for key in ("float_accuracy", "accuracy")),
        f"{found['points_lost']:.2f}",
        f"{found['packing']['weights']:,}",
        *(f"{found[key]:,}" for key in ("float_bytes", "packed_bytes")),
        *(f"{found[key]:.1f}x" for key in ("times_smaller", "layers_times_smaller")),
        f"{found['claimed_times_smaller']:.0f}x, {LEAST_CLAIM:.0f}-{MOST_CLAIM:.0f} % lost",
        *(f"{found[key]:,}" for key in ("size_bytes", "zlib_bytes")),
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, action="append", help="a trained network")
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="default: both")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--set", action="append", default=[], help="a setting of a recipe")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
