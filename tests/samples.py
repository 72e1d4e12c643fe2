"""Small models, and what steps are handed, for several test files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepack import keras, plugins
from edgepack.data.dataset import Dataset, Split
from edgepack.source import open_model
from edgepack.step import Given
from edgepack.target import read_target
from edgepack.tflite.interpreter import Interpreter


def given(dataset: Dataset | None = None, **facts: Any) -> Given:
    """What a step is handed, for the machine that tests run on."""
    return Given(read_target("linux-x86_64"), dataset, **facts)


def read_model(path: Path, custom: Path | str = "", **options: Any) -> Any:
    """What a build makes of a model file before its first step."""
    origin = open_model(path, custom=str(custom), **options)
    return plugins.load("forms", origin.form).read(origin)


def check_model(path: Path) -> None:
    """What a build refuses at once."""
    origin = open_model(path)
    plugins.load("forms", origin.form).check(origin)


def separable_network() -> Any:
    """Images ``[n, 8, 8, 1]`` to ten probabilities, 3,000 parameters."""
    layers = keras.tf_keras().layers
    x = image = layers.Input((8, 8, 1), name="image")
    blocks = [("stem", layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem"))]
    for i, filters in enumerate((32, 48)):
        depthwise = layers.DepthwiseConv2D(
            3, 2 - i, padding="same", use_bias=False, name=f"depthwise_{i}"
        )
        pointwise = layers.Conv2D(filters, 1, use_bias=False, name=f"pointwise_{i}")
        blocks += [(depthwise.name, depthwise), (pointwise.name, pointwise)]
    for name, layer in blocks:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(layer(x))
        x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    scores = layers.Dense(10, activation="softmax", name="scores")(x)
    return keras.tf_keras().Model(image, scores)


def noise_for(model: Any, count: int = 40) -> Dataset:
    """Normal numbers for each input of a tf_keras model, without labels."""
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.normal(size=(count, *x.shape[1:])).astype(np.float32)
        for name, x in zip(model.input_names, model.inputs, strict=True)
    }
    split = Split(inputs)
    return Dataset("noise", "0" * 64, split, None, split)


def accuracy(model: Any, dataset: Dataset) -> float:
    """Of a tf_keras model or the bytes of a .tflite with one output, on the test split."""
    assert dataset.test is not None
    (images,) = dataset.feed(dataset.test, ["image"]).values()
    if isinstance(model, bytes):
        (scores,) = Interpreter(model, ["image"], ["scores"]).run({"image": images}).values()
    else:
        scores = model(images).numpy()
    (labels,) = dataset.test.outputs.values()
    return float(np.mean(scores.argmax(-1) == labels))
