"""A model that takes several samples in one call is run, compared and diagnosed like any other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import CommandLine, Ran

from edgepack import keras


def infer(*words: str, code: int = 0) -> str:
    """What the bundle's example says."""
    done = subprocess.run(
        [sys.executable, "bundle/infer.py", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout or done.stderr


@pytest.fixture
def build(edgepack: CommandLine, tiny: Path) -> Callable[..., Ran]:
    """Build ``tiny`` for this machine."""

    def run(*words: str | Path, model: str | Path = tiny) -> Ran:
        return edgepack("build", model, "--target", "linux-x86_64", "--out", "bundle", *words)

    return run


@pytest.mark.parametrize("batch", [3, 4])
@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_the_example_runs_blocks_of_samples(
    build: Callable[..., Ran], recipe: str, batch: int
) -> None:
    done = build("--data", "digits", "--recipe", recipe, "--set", f"convert.batch={batch}")
    assert done.code == 0, done.err
    assert "golden outputs: 0\n" in infer()
    with np.load("bundle/golden.npz") as golden:
        np.save("sample.npy", (golden["input.image"][0] * 16).astype(np.uint8))
        wanted = golden["output.scores"][0]
    name, _, scores = infer("sample.npy").partition(" ")
    assert name == "scores"
    (row,) = np.array(eval(scores))
    np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_a_collapse_is_found_whatever_the_batch(build: Callable[..., Ran]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 8, 8, 1), np.float32), np.arange(60) % 10
    np.savez("absurd.npz", x_train=x * 1e9, y_train=y, x_test=x, y_test=y)
    done = build("--data", "absurd.npz", "--recipe", "int8", "--set", "convert.batch=5")
    assert done.code == 0, done.err
    assert "COLLAPSED: output scores" in done.out
    assert "filters (CONV_2D)" in done.out


def test_one_sample_is_not_enough_for_several_inputs(build: Callable[..., Ran]) -> None:
    layers = keras.tf_keras().layers
    left, right = layers.Input((3,), name="left"), layers.Input((3,), name="right")
    total = layers.Add(name="total")([left, right])
    keras.tf_keras().Model([left, right], total).save("two.keras")
    assert build("--recipe", "float32", model="two.keras").code == 0
    np.save("sample.npy", np.ones(3, np.float32))
    told = infer("sample.npy", code=1)
    assert "one input" in told
    assert "left, right" in told
    assert "Traceback" not in told
