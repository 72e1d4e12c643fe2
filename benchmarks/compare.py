"""All techniques on the demo's model: how long the whole comparison takes, and what it finds.

``python benchmarks/compare.py [--model FILE] [--data DATA] [--techniques A,B]`` runs ``edgepack
compare`` at its defaults with an empty cache, on the network of ``edgepack demo`` where no model is
named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Limit, save

LIMIT_MIN = 15
HEADERS = (
    *("recipe", "strength", "bytes", "times smaller", "claimed", "zlib, times smaller"),
    *("accuracy", "points lost", "claimed", "times faster", "training, s"),
)


def main(options: argparse.Namespace) -> None:
    model = options.model or demo_model()
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        facts = compare(model, options, Path(cache))
        minutes = (time.perf_counter() - started) / 60
    limits = [Limit("minutes for the whole comparison", round(minutes, 1), LIMIT_MIN)]
    save("compare", {"minutes": minutes, "facts": brief(facts)}, HEADERS, rows(facts), limits)


def demo_model() -> Path:
    """The network of the demo, trained once and kept in ``build``."""
    from edgepack.commands.demo import train
    from edgepack.progress import silent

    path = Path("build", "demo", "digits.keras")
    if not path.is_file():
        train(path, silent)
    return path


def compare(model: Path, options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """What ``edgepack compare --json`` prints."""
    command = [sys.executable, "-m", "edgepack", "compare", str(model), "--target", options.target]
    command += ["--data", options.data, "--techniques", options.techniques, "--json"]
    command += ["--out", str(options.out or cache / "out")]
    env = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def brief(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts without the settings of every step, which the recipes tell."""
    kept = [{k: v for k, v in row.items() if k != "settings"} for row in facts["variants"]]
    return facts | {"variants": kept}


def rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    base = facts["baseline"]
    top = ("float32", "", f"{base['size_bytes']:,}", "1.0", "", "1.0", f"{base['value']:.4f}")
    built = [row for row in facts["variants"] if not row["error"]]
    failed = [row for row in facts["variants"] if row["error"]]
    shown = [row_of(row, base) for row in built]
    return [(*top, "", "", "1.00", ""), *shown, *(failure(row) for row in failed)]


def failure(row: dict[str, Any]) -> tuple[str, ...]:
    """A technique that does not go with this model, with its reason."""
    return (row["recipe"], row["strength"], row["error"], *[""] * (len(HEADERS) - 3))


def row_of(row: dict[str, Any], base: dict[str, Any]) -> tuple[str, ...]:
    ratio = (row["timing"] or {}).get("ratio")
    return (
        *(row["recipe"], row["strength"], f"{row['size_bytes']:,}"),
        *(f"{base['size_bytes'] / row['size_bytes']:.1f}", row["claim"]["size"]),
        f"{base['zlib_bytes'] / row['zlib_bytes']:.1f}",
        *(f"{row['value']:.4f}", f"{100 * row['drop']:.2f}", row["claim"]["accuracy"]),
        f"{1 / ratio['value']:.2f}" if ratio else "",
        f"{row['train_s']:.0f}",
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a trained model; the demo's if absent")
    parser.add_argument("--data", default="digits", help="what edgepack compare --data takes")
    parser.add_argument("--target", default="rpi4")
    parser.add_argument("--techniques", default="", help="recipes with commas; all if absent")
    parser.add_argument("--out", type=Path, help="a folder for the page and the bundles")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
