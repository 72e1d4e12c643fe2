"""Microcontrollers: every sample .tflite for a Cortex-M4, and Fashion-MNIST's network for a board.

``python benchmarks/microcontrollers.py [--model FILE]`` packs each .tflite of ``EDGEPACK_MODELS``
for ``cortex-m4``, compares the arena with what was measured on a device, and packs the network
of networks.py (trained where no model is named) for ``arduino-nano-33-ble``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fashion import trained
from report import Limit, save

from edgepack.micro.arena import measured

TARGET, BOARD = "cortex-m4", "arduino-nano-33-ble"
FOLDER = Path("build", "microcontrollers")
ABOVE_HOST = 1.25
"""How far the arena may lie above the smallest that works on this machine."""
HEADERS = (
    *("model", "target", "smallest arena here", "arena", "smallest on the device"),
    *("flash KiB", "RAM KiB", "parity"),
)
FIT_HEADERS = ("memory", "bytes", "of", "")


def main(options: argparse.Namespace) -> None:
    names = sorted(Path(os.environ.get("EDGEPACK_MODELS", "")).glob("*.tflite"))
    if not names:
        sys.exit("set EDGEPACK_MODELS to a folder of .tflite files; see benchmarks/README.md")
    found = {path.stem: pack([path, "--target", TARGET], path.stem) for path in names}
    network = options.model or trained()
    words = [network, "--target", BOARD, "--data", options.data]
    found["fashion"] = pack(words, "fashion")
    packed = {name: made for name, made in found.items() if "arena" in made}
    rows = [row(name, made) for name, made in found.items()]
    save("microcontrollers", {"models": found}, HEADERS, rows, limits(packed))
    made = found["fashion"]
    save("microcontroller_fit", {"model": made}, FIT_HEADERS, fit_rows(made), fit_limits(made))


def pack(words: list[Any], name: str) -> dict[str, Any]:
    """What the manifest says of one build; of a refused one the words of the refusal."""
    place = FOLDER / name
    command = [sys.executable, "-m", "edgepack", "build", *map(str, words), "--quiet", "--json"]
    done = subprocess.run(
        [*command, "--out", str(place)], capture_output=True, text=True, check=False
    )
    told = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")
    if done.returncode not in (0, 1) or not done.stdout:
        return {"exit": done.returncode, "refused": told.removeprefix("error: ")}
    manifest = json.loads(done.stdout)
    firmware, evaluation = manifest["firmware"], manifest["evaluation"]
    return {
        "exit": done.returncode,
        "target": manifest["target"],
        "size_bytes": manifest["model"]["size_bytes"],
        "accuracy": evaluation["final"] if evaluation else None,
        "arena": firmware["arena"],
        "fit": firmware["fit"],
        "parity": {key: firmware["parity"][key] for key in ("verdict", "sentence")},
        "problems": firmware["problems"],
    }


def device_smallest(name: str) -> int | None:
    """The smallest arena that works on a device, by the table of measured ones."""
    rows = [r for r in measured() if r["model"] == name and r["core"] == TARGET]
    return next((r["smallest"] for r in rows if "smallest" in r), None)


def row(name: str, made: dict[str, Any]) -> tuple[str, ...]:
    if "refused" in made:
        return (name, TARGET, "", "", "", "", "", "refused")
    arena, fit, device = made["arena"], made["fit"], device_smallest(name)
    return (
        *(name, made["target"], f"{arena['smallest_bytes']:,}", f"{arena['constant_bytes']:,}"),
        *(f"{device:,}" if device else "", kib(fit["flash"]["bytes"]), kib(fit["ram"]["bytes"])),
        made["parity"]["verdict"],
    )


def kib(size: int) -> str:
    return f"{size / 1024:.1f}"


def limits(packed: dict[str, dict[str, Any]]) -> list[Limit]:
    found = []
    for name, made in packed.items():
        arena = made["arena"]
        ratio = arena["constant_bytes"] / arena["smallest_bytes"]
        if device := device_smallest(name):
            least = arena["constant_bytes"] / device
            found.append(Limit(f"{name}: arena, times the device's smallest", least, 1, least=True))
            found.append(Limit(f"{name}: arena, times this machine's", ratio, ABOVE_HOST))
    return found


def fit_rows(made: dict[str, Any]) -> list[tuple[str, ...]]:
    """Each part of flash and RAM, and their sums beside what the board has."""
    rows = []
    for name in ("flash", "ram"):
        memory = made["fit"][name]
        word = name.upper() if name == "ram" else name
        rows += [
            (f"{word}: {p['name']}", f"{p['bytes']:,}", "", p["kind"]) for p in memory["parts"]
        ]
        met = "fits" if memory["met"] else "does not fit"
        rows.append((word, f"{memory['bytes']:,}", f"{memory['budget_bytes']:,}", met))
    return rows


def fit_limits(made: dict[str, Any]) -> list[Limit]:
    flash, ram = (made["fit"][name] for name in ("flash", "ram"))
    return [
        Limit("flash, of the board's", flash["bytes"] / flash["budget_bytes"], 1),
        Limit("RAM, of the board's", ram["bytes"] / ram["budget_bytes"], 1),
        Limit("operators that differ without an explanation", len(made["problems"]), 0),
    ]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a network trained on Fashion-MNIST")
    parser.add_argument("--data", default="fashion-mnist", help="what --data of build takes")
    return parser.parse_args()


if __name__ == "__main__":
    main(read_options())
