"""Distillation on Fashion-MNIST: a student of a quarter of the parameters, taught and alone.

``python benchmarks/distill.py [--model FILE] [--data DATA] [--seeds N] [--set SETTING=VALUE]...``
takes the network of networks.py where no model is named. Taught and alone, a student has the same
layers, the same initial weights and the same training but for what its loss is made of. What is
judged is the float32 .tflite on the test split.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fashion import trained
from report import Limit, build, save

RECIPE = """
[[steps]]
step = "distill"
[[steps]]
step = "convert"
quantization = "float32"
[[steps]]
step = "strip"
"""
SETTINGS = ("width=0.45", "epochs=12", "learning_rate=0.003")
"""Of the step distill, for taught and alone."""
LESSONS = {"taught": (), "alone": ("soft=0", "hard=1")}
HEADERS = ("student", "seed", "accuracy", "points lost", "parameters", "seconds")


def main(options: argparse.Namespace) -> None:
    found = {
        lesson: [trial(options, lesson, seed) for seed in range(options.seeds)]
        for lesson in LESSONS
    }
    told = {
        "model": options.model.name,
        "data": options.data,
        "settings": [*SETTINGS, *options.set],
        "students": found,
    }
    save(f"distill_{options.model.stem}", told, HEADERS, rows(found), limits(found))


def trial(options: argparse.Namespace, lesson: str, seed: int) -> dict[str, Any]:
    """One student."""
    words = [f"distill.{word}" for word in (*SETTINGS, *LESSONS[lesson], *options.set)]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "student.toml")
        recipe.write_text(RECIPE, encoding="utf-8")
        common = [options.model, "--target", "rpi4", "--data", options.data, "--quiet"]
        common += ["--recipe", recipe, "--seed", str(seed), "--out", Path(folder, "bundle")]
        made = build([*common, *(part for word in words for part in ("--set", word))])
    (step,) = (step for step in made["steps"] if step["name"] == "distill")
    return {
        "seed": seed,
        "teacher_accuracy": made["evaluation"]["baseline"],
        "accuracy": made["evaluation"]["final"],
        "points_lost": 100 * made["evaluation"]["drop"],
        "teacher_parameters": step["recorded"]["teacher"]["parameters"],
        "parameters": step["recorded"]["student"]["parameters"],
        "size_bytes": made["model"]["size_bytes"],
        "float_size_bytes": made["baseline"]["size_bytes"],
        "losses": step["recorded"]["losses"],
        "seconds": step["seconds"],
        "settings": step["settings"],
    }


def mean(found: list[dict[str, Any]], name: str) -> float:
    """Over the seeds."""
    return float(np.mean([trial[name] for trial in found]))


def limits(found: dict[str, list[dict[str, Any]]]) -> list[Limit]:
    taught, alone = found["taught"], found["alone"]
    share = taught[0]["parameters"] / taught[0]["teacher_parameters"]
    gains = [100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(taught, alone, strict=True)]
    return [
        Limit("parameters of the teacher's, %", 100 * share, 25),
        Limit("points lost to the teacher, mean of the seeds", mean(taught, "points_lost"), 1.5),
        Limit("points above the one alone, mean", float(np.mean(gains)), 0, least=True),
        Limit("points above the one alone, worst seed", min(gains), 0, least=True),
    ]


def rows(found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, ...]]:
    first = found["taught"][0]
    accuracy = f"{100 * first['teacher_accuracy']:.2f} %"
    made = [("teacher", "", accuracy, "", f"{first['teacher_parameters']:,}", "")]
    for lesson, trials in found.items():
        made += [row(lesson, trial) for trial in trials]
    return made


def row(lesson: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(lesson, str(found["seed"]), f"{100 * found['accuracy']:.2f} %"),
        *(f"{found['points_lost']:.2f}", f"{found['parameters']:,}", f"{found['seconds']:.0f}"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; trained now if absent")
    parser.add_argument("--data", default="fashion-mnist", help="what edgepack build --data takes")
    parser.add_argument("--seeds", type=int, default=3, help="how many students of each kind")
    parser.add_argument("--set", action="append", default=[], help="of the step, such as epochs=1")
    found = parser.parse_args()
    found.model = found.model or trained()
    return found


if __name__ == "__main__":
    main(arguments())
