"""LoRA on Fashion-MNIST: what it recovers of a network that was pruned at once, beside fine-tuning.

``python benchmarks/lora.py [--model FILE] [--data DATA] [--epochs N] [--set SETTING=VALUE]...``
takes the network of networks.py where no model is named. 90 % of the weights are set to zero
without training; then the same number of epochs goes into adapters of low rank, or into all
weights. What is judged is the float32 .tflite on the test split.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashion import trained
from report import Limit, build, save

SPARSITY = 0.9
RECOVERIES: dict[str, tuple[str, ...]] = {
    "pruned": (),
    "lora": ('step = "lora"',),
    "finetune": ('step = "finetune"', "learning_rate = 0.001"),
}
PRUNE = ('step = "prune"', f"sparsity = {SPARSITY}", "epochs = 0")
CONVERT = (('step = "convert"', 'quantization = "float32"'), ('step = "strip"',))
HEADERS = ("after pruning", "accuracy", "points recovered", "trained", "of all", "zeros", "seconds")


def main(options: argparse.Namespace) -> None:
    found = {name: trial(options, name, rows) for name, rows in RECOVERIES.items()}
    told = {
        "model": options.model.name,
        "data": options.data,
        "sparsity": SPARSITY,
        "epochs": options.epochs,
        "settings": options.set,
        "recoveries": found,
    }
    save(f"lora_{options.model.stem}", told, HEADERS, rows(found), limits(found))


def trial(options: argparse.Namespace, name: str, words: Sequence[str]) -> dict[str, Any]:
    """The pruned network, and what a step makes of it."""
    step = [[*words, f"epochs = {options.epochs}"]] if words else []
    steps = ["[[steps]]\n" + "\n".join(rows) for rows in (PRUNE, *step, *CONVERT)]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "recovery.toml")
        recipe.write_text("\n".join(steps), encoding="utf-8")
        common = [options.model, "--target", "rpi4", "--data", options.data, "--quiet"]
        common += ["--recipe", recipe, "--out", Path(folder, "bundle")]
        chosen = [f"lora.{word}" for word in options.set] if name == "lora" else []
        made = build([*common, *(part for word in chosen for part in ("--set", word))])
    (done,) = (row for row in made["steps"] if row["name"] == (name if words else "prune"))
    parameters = made["source"]["structure"]["parameters"]
    usual = {"parameters": parameters if words else 0, "share": float(bool(words))}
    return {
        "baseline_accuracy": made["evaluation"]["baseline"],
        "accuracy": made["evaluation"]["final"],
        "trained": done["recorded"].get("trained", usual),
        "zeros": made["structure"]["zeros"],
        "zlib_bytes": made["model"]["zlib_bytes"],
        "seconds": done["seconds"],
        "settings": done["settings"],
    }


def recovered(found: dict[str, Any], name: str) -> float:
    """Points of accuracy above the pruned network."""
    return 100 * float(found[name]["accuracy"] - found["pruned"]["accuracy"])


def limits(found: dict[str, Any]) -> list[Limit]:
    share = recovered(found, "lora") / recovered(found, "finetune")
    trained = 100 * found["lora"]["trained"]["share"]
    return [
        Limit("points recovered of fine-tuning's, %", 100 * share, 50, least=True),
        Limit("trained parameters of all, %", trained, 10),
        Limit("zeros lost", found["pruned"]["zeros"] - found["lora"]["zeros"], 0),
    ]


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    accuracy = f"{100 * found['pruned']['baseline_accuracy']:.2f} %"
    return [("(not pruned)", accuracy, "", "", "", "", ""), *(row(found, name) for name in found)]


def row(found: dict[str, Any], name: str) -> tuple[str, ...]:
    one = found[name]
    return (
        *(name, f"{100 * one['accuracy']:.2f} %", f"{recovered(found, name):.2f}"),
        *(f"{one['trained']['parameters']:,}", f"{100 * one['trained']['share']:.2f} %"),
        *(f"{100 * one['zeros']:.2f} %", f"{one['seconds']:.0f}"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; trained now if absent")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--epochs", type=int, default=3, help="of the recovery")
    parser.add_argument("--set", action="append", default=[], help="of lora, such as rank=4")
    found = parser.parse_args()
    found.model = found.model or trained()
    return found


if __name__ == "__main__":
    main(arguments())
