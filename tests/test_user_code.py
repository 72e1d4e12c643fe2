"""The user's own layers and allowed Lambdas go through every step, also those that copy a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CommandLine

from edgepack import keras

OWN_LAYER = """
import keras

class Doubler(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
"""

QAT = """
steps = [{step = "qat", epochs = 1}, {step = "convert", quantization = "int8"}]
"""


def own_layer() -> Any:
    """A layer of a file ``own.py``, whose ``keras`` is Keras 3 here."""
    Path("own.py").write_text(OWN_LAYER)
    names: dict[str, Any] = {}
    keras.keras3()
    exec(OWN_LAYER, names)
    return names["Doubler"](name="twice")


def code_layer() -> Any:
    """A Lambda."""
    return keras.tf_keras().layers.Lambda(lambda x: x * 2.0, name="twice")


def save(package: Any, middle: Any, recurrent: bool) -> None:
    """Save ``model.keras``, images or short series to three numbers, and its ``data.npz``."""
    layers = package.layers
    first = layers.LSTM(4, name="series") if recurrent else layers.Flatten(name="flat")
    package.Sequential([layers.Input((5, 3)), first, middle, layers.Dense(3)]).save("model.keras")
    x = np.random.default_rng(0).normal(size=(60, 5, 3)).astype(np.float32)
    np.savez("data.npz", x=x, y=np.arange(60) % 3)


@pytest.mark.training
@pytest.mark.parametrize("kind", ["own", "lambda"])
@pytest.mark.parametrize("recipe", ["qat.toml", "int8"])
def test_steps_that_copy_a_model_know_its_code(
    edgepack: CommandLine, kind: str, recipe: str
) -> None:
    Path("qat.toml").write_text(QAT)
    recurrent = recipe == "int8"
    if kind == "own":
        save(keras.keras3(), own_layer(), recurrent)
        allowed: tuple[str, ...] = ("--custom", "own.py")
    else:
        save(keras.tf_keras(), code_layer(), recurrent)
        allowed = ("--allow-code",)
    words = ("--target", "linux-x86_64", "--data", "data.npz", "--recipe", recipe, "--json")
    done = edgepack("build", "model.keras", *words, *allowed, "--out", "bundle")
    assert done.code == 0, done.err
    (figures,) = done.json["evaluation"]["fidelity"].values()
    assert figures["cosine"] > 0.9
