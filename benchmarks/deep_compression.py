"""LeNet-300-100 and LeNet-5 on Fashion-MNIST: pruned, clustered and trained in 8 bits.

``python benchmarks/deep_compression.py [--lenet300 FILE] [--lenet5 FILE]`` trains the networks of
networks.py where no models are named. Each is built by ``deep-compression``, and beside it trained
on in floats for as many epochs, since a part of what the chain gains is training. Sizes are as
transferred: the deployed ``.tflite`` through zlib, against the float32 file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fashion import count, size_of, zeros_of
from report import Limit, build, figures, save

RECIPE = "deep-compression"
FOLDER = Path("build", "deep-compression")
SETTINGS = {
    "lenet300": (
        *("prune.sparsity=0.93", "prune.epochs=10", "prune.skip=dense_2"),
        *("cluster.epochs=3", "cluster.learning_rate=0.0003", "qat.epochs=1"),
    ),
    "lenet5": (
        *("prune.sparsity=0.93", "prune.epochs=6", "prune.skip=conv2d|dense_1"),
        *("cluster.epochs=2", "cluster.learning_rate=0.0003", "qat.epochs=1"),
    ),
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
    found = {name: facts(name, options) for name in options.networks.split(",")}
    told = {"recipe": RECIPE, "data": options.data, "networks": found}
    bounds = [limit for name, values in found.items() for limit in limits(name, values)]
    save("deep_compression", told, HEADERS, [row(*pair) for pair in found.items()], bounds)


def facts(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What is reported of one network."""
    model = getattr(options, name) or trained(name)
    common = [model, "--target", "rpi4", "--data", options.data, "--quiet"]
    settings = (*SETTINGS[name], f"cluster.clusters={CLUSTERS}", *options.set)
    words = [word for setting in settings for word in ("--set", setting)]
    made = build([*common, "--recipe", RECIPE, "--out", str(FOLDER / name), *words])
    epochs = sum(step["settings"].get("epochs", 0) for step in made["steps"])
    longer = build(
        [*common, "--recipe", trained_on(epochs), "--out", str(FOLDER / f"{name}-float")]
    )
    evaluation = made["evaluation"]
    return {
        **figures(made),
        "times_smaller": made["baseline"]["size_bytes"] / made["model"]["zlib_bytes"],
        "paper_times": PAPER[name],
        "parameters": made["source"]["structure"]["parameters"],
        "float_accuracy": evaluation["baseline"],
        "trained_on_accuracy": longer["evaluation"]["final"],
        "accuracy": evaluation["final"],
        "points_lost": 100 * evaluation["drop"],
        "samples": evaluation["samples"],
        "epochs": epochs,
        "settings": list(settings),
        "weights": count(made["model"]["path"]),
        "seconds": {step["name"]: step["seconds"] for step in made["steps"]},
    }


def trained(name: str) -> Path:
    """A network of networks.py, trained once and kept in ``build``."""
    from networks import NETWORKS, train

    path = Path("build", f"{name}.keras")
    if not path.is_file():
        train(path, NETWORKS[name])
    return path


def trained_on(epochs: int) -> Path:
    """The recipe of more training in floats and nothing else."""
    path = FOLDER / f"trained-on-{epochs}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'[[steps]]\nstep = "finetune"\nepochs = {epochs}\nlearning_rate = 1e-3\n\n'
        '[[steps]]\nstep = "convert"\nquantization = "float32"\n\n[[steps]]\nstep = "strip"\n'
    )
    return path


def limits(name: str, found: dict[str, Any]) -> list[Limit]:
    most = max(w["unique"] for w in found["weights"])
    return [
        Limit(f"{name}: times smaller", found["times_smaller"], TIMES, least=True),
        Limit(f"{name}: points lost", found["points_lost"], POINTS),
        Limit(f"{name}: most distinct values in a tensor", most, CLUSTERS),
    ]


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    weights = found["weights"]
    return (
        name,
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
