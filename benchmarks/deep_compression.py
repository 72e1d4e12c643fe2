"""LeNet-300-100 and LeNet-5 on Fashion-MNIST: pruned, clustered and trained in 8 bits.

``python benchmarks/deep_compression.py [--lenet300 FILE] [--lenet5 FILE]`` trains the networks of
networks.py where no models are named. Each goes through the steps of ``deep-compression`` in the
ways of `WAYS`, and beside them is trained on in floats for as many epochs, since a part of what
they gain is training. Sizes are as transferred: the deployed ``.tflite`` through zlib, against the
float32 file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashion import count, size_of, zeros_of
from report import Limit, build, figures, save

FOLDER = Path("build", "deep-compression")
RECIPE, TAUGHT = "deep-compression", FOLDER / "taught.toml"
WAYS = {
    "93 %": (RECIPE, 0.93),
    "90 %": (RECIPE, 0.9),
    "90 %, taught": (str(TAUGHT), 0.9),
}
"""Recipe and share of zeros; the last one learns from the float model once it is pruned."""
SETTINGS = {
    "lenet300": ("prune.epochs=10", "prune.skip=dense_2", "cluster.epochs=3"),
    "lenet5": ("prune.epochs=6", "prune.skip=conv2d|dense_1", "cluster.epochs=2"),
}
"""The last layer, and LeNet-5's first, are small and stay dense."""
CLUSTERS = 16
PAPER = {"lenet300": 40, "lenet5": 39}
"""How many times smaller on MNIST: Han et al. 2016, arXiv:1510.00149, tables 1, 2 and 3."""
TIMES, POINTS = 25, 0.5
HEADERS = (
    *("network", "float accuracy", "trained on in floats", "accuracy", "points lost"),
    *("float32 bytes", "zlib bytes", "times smaller", "on MNIST, by the paper", "of the paper's"),
    *("zeros", "values in a tensor"),
)


def main(options: argparse.Namespace) -> None:
    make_recipes()
    found = {name: facts(name, options) for name in options.networks.split(",")}
    told = {"data": options.data, "networks": found}
    rows = [row(name, way, made) for name, ways in found.items() for way, made in ways.items()]
    bounds = [limit for name, ways in found.items() for limit in limits(name, best(ways))]
    save("deep_compression", told, HEADERS, rows, bounds)


def facts(name: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is reported of one network, by way."""
    model = getattr(options, name) or trained(name)
    common = [model, "--target", "rpi4", "--data", options.data, "--quiet"]
    found = {way: built(name, way, common, options.set) for way in WAYS}
    epochs = max(made["epochs"] for made in found.values())
    words = ["--recipe", FOLDER / "longer.toml", "--set", f"finetune.epochs={epochs}"]
    longer = build([*common, *words, "--out", FOLDER / f"{name}-float"])
    trained_on = {"trained_on_accuracy": longer["evaluation"]["final"]}
    return {way: made | trained_on for way, made in found.items()}


def built(name: str, way: str, common: Sequence[Any], others: Sequence[str]) -> dict[str, Any]:
    """What is reported of one way."""
    recipe, sparsity = WAYS[way]
    settings = (*SETTINGS[name], f"prune.sparsity={sparsity}", f"cluster.clusters={CLUSTERS}")
    settings += ("cluster.learning_rate=0.0003", "qat.epochs=1", *others)
    words = [word for setting in settings for word in ("--set", setting)]
    out = FOLDER / f"{name}-{list(WAYS).index(way)}"
    made = build([*common, "--recipe", recipe, "--out", out, *words])
    evaluation = made["evaluation"]
    return {
        **figures(made),
        "times_smaller": made["baseline"]["size_bytes"] / made["model"]["zlib_bytes"],
        "paper_times": PAPER[name],
        "parameters": made["source"]["structure"]["parameters"],
        "float_accuracy": evaluation["baseline"],
        "accuracy": evaluation["final"],
        "points_lost": 100 * evaluation["drop"],
        "samples": evaluation["samples"],
        "epochs": sum(step["settings"].get("epochs", 0) for step in made["steps"]),
        "settings": list(settings),
        "weights": count(made["model"]["path"]),
        "seconds": {step["name"]: step["seconds"] for step in made["steps"]},
    }


def best(ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The way that loses least of those that are small enough, else the smallest."""
    small = [made for made in ways.values() if made["times_smaller"] >= TIMES]
    smallest = max(ways.values(), key=lambda made: made["times_smaller"])
    return min(small, key=lambda made: made["points_lost"], default=smallest)


def trained(name: str) -> Path:
    """A network of networks.py, trained once and kept in ``build``."""
    from networks import NETWORKS, train

    path = Path("build", f"{name}.keras")
    if not path.is_file():
        train(path, NETWORKS[name])
    return path


def make_recipes() -> None:
    """Write the recipe of a pruned model that is taught, and of more training and nothing else."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    taught = ("prune", "distill", "fold", "cluster", "qat")
    rows = {name: f'[[steps]]\nstep = "{name}"\n' for name in (*taught, "convert", "strip")}
    rows["distill"] += "epochs = 4\n"
    TAUGHT.write_text("\n".join(rows[name] for name in taught))
    longer = '[[steps]]\nstep = "finetune"\nlearning_rate = 1e-3\n'
    rows["convert"] += 'quantization = "float32"\n'
    (FOLDER / "longer.toml").write_text("\n".join((longer, rows["convert"], rows["strip"])))


def limits(name: str, found: dict[str, Any]) -> list[Limit]:
    most = max(w["unique"] for w in found["weights"])
    return [
        Limit(f"{name}: times smaller", found["times_smaller"], TIMES, least=True),
        Limit(f"{name}: points lost", found["points_lost"], POINTS),
        Limit(f"{name}: most distinct values in a tensor", most, CLUSTERS),
    ]


def row(name: str, way: str, found: dict[str, Any]) -> tuple[str, ...]:
    weights = found["weights"]
    return (
        f"{name}, {way}",
        *(f"{100 * found[f'{word}accuracy']:.2f} %" for word in ("float_", "trained_on_", "")),
        *(f"{found['points_lost']:.2f}", f"{found['float_size_bytes']:,}"),
        *(f"{found['zlib_bytes']:,}", f"{found['times_smaller']:.1f}", f"{PAPER[name]}"),
        f"{100 * found['times_smaller'] / PAPER[name]:.0f} %",
        f"{100 * zeros_of(weights) / size_of(weights):.2f} %",
        f"{max(w['unique'] for w in weights)}",
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in SETTINGS:
        parser.add_argument(f"--{name}", type=Path, help="trained; trained now if absent")
    parser.add_argument("--networks", default=",".join(SETTINGS), help="some of them")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--set", action="append", default=[], help="of a step, for quick trials")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
