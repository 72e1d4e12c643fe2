"""A classifier from PyTorch through the whole chain: thawed, pruned, clustered, in 8 bits.

``python benchmarks/onnx_chain.py``. The model is ``tests/onnx/fashion.onnx``, trained on
Fashion-MNIST by ``tools/train_onnx.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from report import HERE, Limit, build, save

from edgepack.tflite import flatbuffer
from edgepack.training.properties import WeightStructure, measure

MODEL = HERE.parent / "tests" / "onnx" / "fashion.onnx"
CHAIN = "prune-cluster-int8"
SPARSITY, CLUSTERS = 0.5, 16
SETTINGS = (
    *(f"prune.sparsity={SPARSITY}", "prune.epochs=4", f"cluster.clusters={CLUSTERS}"),
    *("cluster.epochs=2", "prune.schedule=polynomial"),
)
SMALL = 300
"""Weights of so few values, and depthwise ones, are left alone by TF-MOT or carry little."""
HEADERS = ("recipe", "steps", "bytes", "of float", "zlib of float's", "accuracy", "points lost")


def main(options: argparse.Namespace) -> None:
    found: dict[str, dict[str, Any]] = {}
    for recipe, settings in (("int8", ()), (CHAIN, (*SETTINGS, *options.set))):
        words = [word for setting in settings for word in ("--set", setting)]
        common = [MODEL, "-t", "rpi4", "-r", recipe, "-d", "fashion-mnist", "--quiet"]
        found[recipe] = facts(build([*common, "--out", f"build/onnx-{recipe}", *words]))
    chain = found[CHAIN]
    limits = [
        Limit("points that the chain loses", chain["points_lost"], 1.0),
        Limit("least zeros of a pruned layer", min(chain["zeros"]), SPARSITY - 0.01, least=True),
        Limit("most values in a clustered channel", max(chain["values"]), CLUSTERS),
    ]
    told = {"model": MODEL.name, "settings": SETTINGS, "variants": found}
    save("onnx_chain", told, HEADERS, [row(*item) for item in found.items()], limits)


def facts(made: dict[str, Any]) -> dict[str, Any]:
    """What is reported of one build."""
    final, float32, evaluation = made["model"], made["baseline"], made["evaluation"]
    large = [w for w in structures(Path(final["path"])) if w.size > SMALL]
    return {
        "converter": made["source"]["conversion"]["converter"],
        "off_source": made["source"]["conversion"]["difference"],
        "steps": [step["name"] for step in made["steps"]],
        "size_bytes": final["size_bytes"],
        "size_ratio": final["size_bytes"] / float32["size_bytes"],
        "zlib_ratio": final["zlib_bytes"] / float32["zlib_bytes"],
        "accuracy": evaluation["final"],
        "float_accuracy": evaluation["baseline"],
        "points_lost": 100 * evaluation["drop"],
        "zeros": [weight.zeros for weight in large],
        "values": [weight.unique_in_channel for weight in large],
    }


def structures(path: Path) -> tuple[WeightStructure, ...]:
    """The structure of each weight in the final file."""
    return measure(flatbuffer.weights(flatbuffer.read_graph(path)))


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(name, ", ".join(found["steps"]), f"{found['size_bytes']:,}"),
        *(f"{found['size_ratio']:.3f}", f"{found['zlib_ratio']:.3f}"),
        *(f"{found['accuracy']:.4f}", f"{found['points_lost']:.2f}"),
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], help="of a step, for quick trials")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
