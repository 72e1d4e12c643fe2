"""Fashion-MNIST: layers of low rank in the depthwise-separable network and in ResNet-8.

``python benchmarks/lowrank.py [--separable FILE] [--resnet8 FILE]`` trains the networks of
networks.py where no models are named. Each is built in 8 bits as it is, and by the recipe
``lowrank``; what is lost counts from the float model to the deployed file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deep_compression import trained
from report import Limit, build, figures, save

FOLDER = Path("build", "lowrank")
SETTINGS = {
    "separable": ("lowrank.amount=0.5", "lowrank.epochs=3", "lowrank.skip=conv2d|dense"),
    "resnet8": ("lowrank.amount=0.5", "lowrank.epochs=3", "lowrank.skip=conv2d|dense"),
}
"""The first and the last layer are small, and what they lose no other can make up for."""
TIMES, POINTS = 2, 1.0
HEADERS = (
    *("network", "float accuracy", "int8", "low rank, int8", "points lost", "layers factorized"),
    *("their parameters", "after", "times fewer", "MACs of all", "after"),
    *("int8 bytes", "after"),
)


def main(options: argparse.Namespace) -> None:
    found = {name: facts(name, options) for name in options.networks.split(",")}
    told = {"data": options.data, "networks": found}
    bounds = [limit for name, values in found.items() for limit in limits(name, values)]
    save("lowrank", told, HEADERS, [row(*pair) for pair in found.items()], bounds)


def facts(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What is reported of one network."""
    model = getattr(options, name) or trained(name)
    common = [model, "--target", "rpi4", "--data", options.data, "--quiet"]
    settings = (*SETTINGS[name], *options.set)
    words = [word for setting in settings for word in ("--set", setting)]
    plain = build([*common, "--recipe", "int8", "--out", str(FOLDER / f"{name}-int8")])
    made = build([*common, "--recipe", "lowrank", "--out", str(FOLDER / name), *words])
    step = next(step for step in made["steps"] if step["name"] == "lowrank")
    evaluation, layers = made["evaluation"], step["recorded"]["layers"]
    return {
        **figures(made),
        "int8_bytes": plain["model"]["size_bytes"],
        "int8_accuracy": plain["evaluation"]["final"],
        "float_accuracy": evaluation["baseline"],
        "accuracy": evaluation["final"],
        "points_lost": 100 * evaluation["drop"],
        "samples": evaluation["samples"],
        "layers": layers,
        "remarks": step["remarks"],
        "parameters_before": sum(layer["parameters_before"] for layer in layers),
        "parameters": sum(layer["parameters"] for layer in layers),
        "macs_before": plain["structure"]["macs"],
        "macs": made["structure"]["macs"],
        "settings": list(settings),
        "seconds": step["seconds"],
    }


def times(found: dict[str, Any]) -> float:
    """How many times fewer parameters the factorized layers have."""
    fewer: float = found["parameters_before"] / found["parameters"]
    return fewer


def limits(name: str, found: dict[str, Any]) -> list[Limit]:
    return [
        Limit(f"{name}: times fewer parameters", times(found), TIMES, least=True),
        Limit(f"{name}: points lost", found["points_lost"], POINTS),
        Limit(f"{name}: bytes of plain int8's", found["size_bytes"] / found["int8_bytes"], 1.0),
    ]


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        *(f"{100 * found[f'{word}accuracy']:.2f} %" for word in ("float_", "int8_", "")),
        *(f"{found['points_lost']:.2f}", f"{len(found['layers'])}"),
        *(f"{found['parameters_before']:,}", f"{found['parameters']:,}", f"{times(found):.2f}"),
        *(f"{found['macs_before']:,}", f"{found['macs']:,}"),
        *(f"{found['int8_bytes']:,}", f"{found['size_bytes']:,}"),
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
