"""MobileNetV2 to every Linux board, with every recipe that trains nothing.

``EDGEPACK_MODELS=FOLDER python benchmarks/mobilenet.py``. The model is MobileNetV2 0.35 at 96x96,
made with Keras 3, its weights random; the samples are crops of photographs. The cache is empty at
the start, so that it shows which steps are shared between targets.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import HERE, Limit, build, figures, sample_model, save

from edgepack.target import target_names

MODEL = "mobilenet_v2_035_96.keras"
RECIPES = ("float32", "float16", "dynamic", "int8")
HEADERS = (
    *("recipe", "targets", "bytes", "of float", "cosine", "SQNR dB"),
    *("first build s", "other builds s", "their steps from the cache"),
)


def main() -> None:
    model = sample_model(MODEL)
    targets = [name for name in target_names() if name.startswith(("rpi", "linux-"))]
    with tempfile.TemporaryDirectory() as folder:
        found = {
            recipe: {target: measure(model, target, recipe, folder) for target in targets}
            for recipe in RECIPES
        }
    first = targets[0]
    later = [by_target[t] for by_target in found.values() for t in targets[1:]]
    limits = [
        Limit("bundles built", sum(map(len, found.values())), len(targets) * 4, least=True),
        Limit("different models for one recipe", max(map(different, found.values())), 1),
        Limit(
            "steps from the cache in all builds but the first",
            sum(build["cached"] for build in later),
            sum(build["steps"] for build in later),
            least=True,
        ),
    ]
    rows = [row(recipe, by_target, first) for recipe, by_target in found.items()]
    facts = {"model": MODEL, "origin": "MobileNetV2 0.35 96x96, Keras 3, random weights"}
    save("mobilenet", {**facts, "builds": found}, HEADERS, rows, limits)


def measure(model: Path, target: str, recipe: str, folder: str) -> dict[str, Any]:
    """One build in a process of its own."""
    data = f"{HERE / 'photos.py'}:rgb96"
    words = [model, "--target", target, "--recipe", recipe, "--data", data, "--quiet"]
    started = time.perf_counter()
    made = build([*words, "--out", f"{folder}/{target}-{recipe}"], cache=folder)
    seconds = time.perf_counter() - started
    print(f"{recipe} for {target}: {seconds:.1f} s", file=sys.stderr)
    return {
        **figures(made),
        "sha256": made["model"]["sha256"],
        "seconds": seconds,
        "steps": len(made["steps"]),
        "cached": sum(step["cached"] for step in made["steps"]),
    }


def different(by_target: dict[str, dict[str, Any]]) -> int:
    """How many models came of one recipe: targets that share all steps share the model."""
    return len({found["sha256"] for found in by_target.values()})


def row(recipe: str, by_target: dict[str, dict[str, Any]], first: str) -> tuple[str, ...]:
    found = by_target[first]
    others = [other for target, other in by_target.items() if target != first]
    sqnr = "-" if found["sqnr_db"] is None else f"{found['sqnr_db']:.1f}"
    cached, steps = (sum(other[key] for other in others) for key in ("cached", "steps"))
    return (
        *(recipe, str(len(by_target)), f"{found['size_bytes']:,}", f"{found['size_ratio']:.3f}"),
        *(f"{found['cosine']:.5f}", sqnr, f"{found['seconds']:.1f}"),
        *(f"{max(other['seconds'] for other in others):.1f} at most", f"{cached} of {steps}"),
    )


if __name__ == "__main__":
    main()
