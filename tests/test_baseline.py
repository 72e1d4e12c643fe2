"""What a build is compared with: the float model, written as the final one is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack import keras


def test_the_float_recipe_gives_the_baseline_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layers = keras.keras3().layers
    stack = [layers.Input((4,), name="x"), layers.Dense(3, activation="relu"), layers.Dense(2)]
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=rows, x_test=rows + 1)
    bundle = edgepack.build(
        keras.keras3().Sequential(stack),
        "linux-x86_64",
        recipe="float32",
        data=str(tmp_path / "data.npz"),
        out=tmp_path / "out",
    )
    files = [(bundle.path / bundle.manifest[key]["path"]) for key in ("model", "baseline")]
    assert files[0].read_bytes() == files[1].read_bytes()
