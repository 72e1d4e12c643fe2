"""Fashion-MNIST: a depthwise-separable network to 8 bits, plain and pruned, clustered and trained.

``python benchmarks/fashion.py [--model FILE] [--data DATA] [--set STEP.SETTING=VALUE]...`` trains
the network of networks.py where no model is named. Zeros and distinct values are counted in the
int8 file's own tensors, as the interpreter reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from report import Limit, build, figures, save

from edgepack.bundle import verify

SPARSITY, CLUSTERS = 0.8, 16
CHAIN = "prune-cluster-qat-int8"
SETTINGS = (
    *(f"prune.sparsity={SPARSITY}", "prune.epochs=6"),
    *(f"cluster.clusters={CLUSTERS}", "cluster.epochs=2", "cluster.learning_rate=0.0003"),
    "qat.epochs=1",
)
PRUNED = ("CONV_2D", "FULLY_CONNECTED")
"""Operators whose weights are pruned and clustered; depthwise ones are left alone."""
HEADERS = (
    *("model", "accuracy", "points lost", "bytes", "zlib", "zlib of float's zlib"),
    *("zlib of float's bytes", "zeros in pruned weights", "values in a tensor"),
)


def main(options: argparse.Namespace) -> None:
    folder = options.built or Path("build", "fashion")
    if not options.built:
        build_both(options, folder)
    plain, chain = (manifest_of(folder / name) for name in ("int8", CHAIN))
    found = {"int8": facts(plain), CHAIN: facts(chain)}
    told = {
        "model": chain["source"]["name"],
        "data": chain["data"],
        "variants": found,
        "steps": [
            {key: step[key] for key in ("name", "seconds", "cached", "settings")}
            for step in chain["steps"]
        ],
    }
    save("fashion", told, HEADERS, rows(found), limits(found))


def build_both(options: argparse.Namespace, folder: Path) -> None:
    """Build the network by both recipes into a folder."""
    model = options.model or trained()
    common = [model, "--target", "rpi4", "--data", options.data, "--quiet"]
    build([*common, "--recipe", "int8", "--out", str(folder / "int8")])
    words = [word for setting in (*SETTINGS, *options.set) for word in ("--set", setting)]
    build([*common, "--recipe", CHAIN, "--out", str(folder / CHAIN), *words])


def manifest_of(folder: Path) -> dict[str, Any]:
    """A verified bundle's manifest, with the whole path of its model."""
    bundle = verify(folder)
    made = dict(bundle.manifest)
    return made | {"model": {**made["model"], "path": str(bundle.model)}}


def trained() -> Path:
    """The network of networks.py, trained once and kept in ``build``."""
    from networks import train

    path = Path("build", "separable.keras")
    if not path.is_file():
        train(path)
    return path


def facts(made: dict[str, Any]) -> dict[str, Any]:
    """What is reported of one build."""
    evaluation = made["evaluation"]
    return {
        **figures(made),
        "parameters": made["source"]["structure"]["parameters"],
        "float_accuracy": evaluation["baseline"],
        "accuracy": evaluation["final"],
        "points_lost": 100 * evaluation["drop"],
        "samples": evaluation["samples"],
        "weights": count(made["model"]["path"]),
        "zeros_after_prune": zeros_after(made, "prune"),
    }


def zeros_after(made: dict[str, Any], name: str) -> int | None:
    """Zeros in the weights that a step made sparse, as the manifest tells; None without it."""
    for step in made["steps"]:
        if step["name"] == name:
            sparse = [w for w in step["structure"]["weights"] if w["zeros"] > SPARSITY / 2]
            return round(sum(w["zeros"] * w["size"] for w in sparse))
    return None


def count(path: str) -> list[dict[str, Any]]:
    """Zeros and distinct values of each convolution's and dense layer's stored weights."""
    from ai_edge_litert.interpreter import Interpreter

    running = Interpreter(model_path=path, experimental_preserve_all_tensors=True)
    running.allocate_tensors()
    tensors = {t["index"]: t for t in running.get_tensor_details()}
    rows = []
    for operator in running._get_ops_details():
        if operator["op_name"] in PRUNED:
            kernel = int(operator["inputs"][1])
            values = running.get_tensor(kernel)
            rows.append(
                {
                    "shape": list(values.shape),
                    "dtype": str(values.dtype),
                    "scales": len(tensors[kernel]["quantization_parameters"]["scales"]),
                    "size": int(values.size),
                    "zeros": int(np.sum(values == 0)),
                    "unique": len(np.unique(values)),
                }
            )
    return rows


def zeros_of(weights: list[dict[str, Any]]) -> int:
    return sum(w["zeros"] for w in weights)


def size_of(weights: list[dict[str, Any]]) -> int:
    return sum(w["size"] for w in weights)


def limits(found: dict[str, dict[str, Any]]) -> list[Limit]:
    plain, chain = found["int8"], found[CHAIN]
    weights = chain["weights"]
    zeros = zeros_of(weights)
    return [
        Limit("float accuracy, %", 100 * plain["float_accuracy"], 91.5, least=True),
        Limit("parameters", plain["parameters"], 120_000),
        Limit("int8: points lost", plain["points_lost"], 0.3),
        Limit(f"{CHAIN}: points lost", chain["points_lost"], 1.0),
        Limit("zlib size of the float model's zlib size", chain["zlib_ratio"], 0.25),
        Limit("zeros in pruned weights, %", 100 * zeros / size_of(weights), 80, least=True),
        Limit("zeros lost after pruning", chain["zeros_after_prune"] - zeros, 0),
        Limit("most distinct values in a tensor", max(w["unique"] for w in weights), CLUSTERS),
    ]


def rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    first = found["int8"]
    size, packed = first["float_size_bytes"], first["float_zlib_bytes"]
    accuracy = f"{100 * first['float_accuracy']:.2f} %"
    top = ("float32", accuracy, "", f"{size:,}", f"{packed:,}", "1.000", f"{packed / size:.3f}")
    return [(*top, "", ""), *(row(name, values) for name, values in found.items())]


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    zeros = zeros_of(found["weights"]) / size_of(found["weights"])
    return (
        *(name, f"{100 * found['accuracy']:.2f} %", f"{found['points_lost']:.2f}"),
        *(f"{found['size_bytes']:,}", f"{found['zlib_bytes']:,}", f"{found['zlib_ratio']:.3f}"),
        f"{found['zlib_bytes'] / found['float_size_bytes']:.3f}",
        f"{100 * zeros:.2f} %",
        f"{max(w['unique'] for w in found['weights'])}",
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; trained now if absent")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--built", type=Path, help="a folder of bundles that it built before")
    parser.add_argument("--set", action="append", default=[], help="of a step, for quick trials")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
