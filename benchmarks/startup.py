"""How long it takes until a command answers, against ``python -c pass``.

``python benchmarks/startup.py [RUNS]``. All commands run in turns, so that a change of the
machine's speed meets them alike; a ratio is taken within each turn, its median is the result.
A build whose steps are all in the cache is timed by its wall time, with data in a file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Limit, build, save

PASS = ["-c", "pass"]
EDGEPACK = ["-m", "edgepack"]
ANSWERS = {
    "--help": ["--help"],
    "targets": ["targets"],
    "recipes": ["recipes"],
    "steps": ["steps"],
    "a refused recipe": ["build", "model.keras", "-t", "rpi4", "--set", "convert.sample=9"],
}
REFUSED = 2
TIMES = 8
CACHED_S = 1.0
CACHED = "a build from the cache"
LOOK = """
import sys, runpy
sys.argv[0] = "edgepack"
try:
    runpy.run_module("edgepack", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
heavy = {"tensorflow", "keras", "tf_keras"} & set(sys.modules)
open(HERE, "w").write(" ".join(sorted(heavy)))
"""


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, words = prepare(Path(folder))
        os.environ["XDG_CACHE_HOME"] = folder
        commands = {name: [*EDGEPACK, *args] for name, args in ANSWERS.items()}
        commands[CACHED] = [*EDGEPACK, *words]
        refuse_uncached(words)
        pairs = interleaved(commands, runs)
        heavy = {name: imported(command[2:], folder) for name, command in commands.items()}
    ratios = {name: statistics.median(own / bare for own, bare in pairs[name]) for name in commands}
    seconds = {name: statistics.median(own for own, _ in pairs[name]) for name in commands}
    limits = [Limit(f"{name}, times python -c pass", ratios[name], TIMES) for name in ANSWERS]
    limits += [
        Limit(f"{CACHED}, s", seconds[CACHED], CACHED_S),
        Limit("commands that import TensorFlow", sum(map(bool, heavy.values())), 0),
    ]
    bare = statistics.median(b for values in pairs.values() for _, b in values)
    rows = [("python -c pass", f"{bare:.3f}", "1.0")]
    rows += [(name, f"{seconds[name]:.3f}", f"{ratios[name]:.1f}") for name in commands]
    facts = {"runs": runs, "pairs_s": pairs, "imports": heavy, "model": model}
    save("startup", facts, ("command", "median s", "times python -c pass"), rows, limits)


def prepare(folder: Path) -> tuple[str, list[str]]:
    """Train nothing, but save a small network and build it once, so that all steps are cached."""
    from edgepack import keras

    layers = keras.keras3().layers
    stack = [
        layers.Input((8, 8, 1), name="image"),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
    path = folder / "digits.keras"
    keras.keras3().Sequential(stack).save(path)
    words = [str(path), "-t", "rpi4", "-r", "int8", "-d", "digits", "--out", str(folder / "out")]
    build([*words, "--quiet"], cache=folder)
    return "a convolution and a dense layer on digits", ["build", *words, "--quiet"]


def refuse_uncached(words: list[str]) -> None:
    """End the program where the second build does a step anew: its time would mean nothing."""
    again = build(words[1:])
    if not all(step["cached"] for step in again["steps"]):
        sys.exit("the second build did a step again")


def interleaved(commands: dict[str, list[str]], runs: int) -> dict[str, list[list[float]]]:
    """Wall times in s of each command, each with the ``python -c pass`` beside it."""
    pairs: dict[str, list[list[float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            bare = wall(PASS, 0)
            own = wall(command, REFUSED if "refused" in name else 0)
            if turn:  # the first turn only fills the file cache
                pairs[name].append([own, bare])
    return pairs


def wall(arguments: list[str], expected: int) -> float:
    """The wall time in s of one Python process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    took = time.perf_counter() - started
    if done.returncode != expected:
        sys.exit(f"{arguments} ended with {done.returncode}, not with {expected}")
    return took


def imported(arguments: list[str], folder: str) -> list[str]:
    """Which of TensorFlow's packages a command has imported when it ends."""
    found = Path(folder) / "imported"
    program = LOOK.replace("HERE", repr(str(found)))
    command: Any = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return found.read_text(encoding="utf-8").split()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
