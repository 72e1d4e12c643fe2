"""One audio model in three formats for a Raspberry Pi 4: as floats, and on the frozen path.

``EDGEPACK_MODELS=FOLDER python benchmarks/formats.py``. The model is Basic Pitch (basic-pitch
0.4.0), as ONNX, as SavedModel and as .tflite. Its ONNX file needs Python 3.12: onnx2tf 1.29, the
last one for 3.11, cannot convert it. The samples are made-up music (``tones.py``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import HERE, Limit, sample_model, save

SOURCES = {
    "ONNX": "basic_pitch_nmp.onnx",
    "SavedModel": "basic_pitch_nmp",
    ".tflite": "basic_pitch_nmp.tflite",
}
RECIPES = ("float32", "frozen-dynamic", "frozen-int8")
SPECTRUM = "frozen-int8, spectrum in floats"
RULES = ".*cq_t.*=float,.*log.*=float,batch_normalization.*=float"
"""What leaves the model's spectrum and its logarithm in floats, by the layers' names in the
.tflite; eight bits do not hold their range."""
HEADERS = ("source", "recipe", "bytes", "of float", "worst cosine", "worst SQNR dB", "off source")
AGREEMENT = 1e-4


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for source, name in SOURCES.items():
            path = place(name)
            found[source] = {recipe: outcome(path, recipe, Path(folder)) for recipe in RECIPES}
        settings = ("--set", f"quantize.rules={RULES}")
        found[".tflite"][SPECTRUM] = outcome(path, "frozen-int8", Path(folder), *settings)
    made = [variant for variants in found.values() for variant in variants.values()]
    off = [variant["off_source"] for variant in made if "off_source" in variant]
    taken = sum("error" not in variants["float32"] for variants in found.values())
    limits = [
        Limit("formats that come in", taken, len(SOURCES), least=True),
        Limit("float .tflite off its source", max(off), AGREEMENT),
    ]
    rows = [row(s, r, facts) for s, variants in found.items() for r, facts in variants.items()]
    facts = {"model": "Basic Pitch", "origin": "package basic-pitch 0.4.0", "sources": found}
    save("formats", facts, HEADERS, rows, limits)


def place(name: str) -> Path:
    """The file or folder among the sample models."""
    whole = sample_model("basic_pitch_nmp.tflite").parent / name
    if not whole.exists():
        sys.exit(f"there is no {whole}; see benchmarks/README.md for where it comes from")
    return whole


def outcome(path: Path, recipe: str, folder: Path, *settings: str) -> dict[str, Any]:
    """Sizes and fidelity of one build, or the line that refuses it."""
    words = ["build", path, "-t", "rpi4", "-r", recipe, "-d", f"{HERE / 'tones.py'}:music"]
    words += settings
    command = [sys.executable, "-m", "edgepack", *map(str, words), "--quiet", "--json"]
    done = subprocess.run(
        [*command, "--out", str(folder / f"{path.name}-{recipe}")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(folder)},
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return {"error": lines[-1] if lines else done.stderr[-300:]}
    made = json.loads(done.stdout)
    fidelity = list(made["evaluation"]["fidelity"].values())
    conversion = made["source"]["conversion"] or {"converter": "", "difference": 0.0}
    return {
        "size_bytes": made["model"]["size_bytes"],
        "size_ratio": made["model"]["size_bytes"] / made["baseline"]["size_bytes"],
        "cosine": min(figure["cosine"] for figure in fidelity),
        "sqnr_db": min((f["sqnr_db"] for f in fidelity if f["sqnr_db"] is not None), default=None),
        "converter": conversion["converter"],
        "off_source": conversion["difference"],
        "remarks": [text for step in made["steps"] for text in step["remarks"]],
    }


def row(source: str, recipe: str, found: dict[str, Any]) -> tuple[str, ...]:
    if "error" in found:
        return source, recipe, found["error"], "", "", "", ""
    ratio = found["sqnr_db"]
    return (
        *(source, recipe, f"{found['size_bytes']:,}", f"{found['size_ratio']:.3f}"),
        *(f"{found['cosine']:.5f}", "exact" if ratio is None else f"{ratio:.1f}"),
        f"{found['off_source']:.1e}",
    )


if __name__ == "__main__":
    main()
