"""The networks that the benchmarks train on Fashion-MNIST: flips and shifts, cosine decay.

``python benchmarks/networks.py NAME FILE`` trains one of `NETWORKS`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.data.dataset import open_source

SEED = 0
EPOCHS = 18
BATCH = 128
LEARNING_RATE = 2e-3


def separable() -> Any:
    """A depthwise-separable network of under 120,000 parameters, 28x28x1 to ten classes."""
    layers = keras.keras3().layers
    stack = [
        layers.Input((28, 28, 1), name="image"),
        layers.Conv2D(32, 5, 2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
    ]
    for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (160, 1)):
        stack += [
            layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(width, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    stack += [
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]
    return keras.keras3().Sequential(stack, name="separable")


def resnet8() -> Any:
    """ResNet-8 as in MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597), for 28x28x1."""
    layers = keras.keras3().layers

    def convolve(x: Any, width: int, size: int, stride: int) -> Any:
        return layers.Conv2D(width, size, stride, padding="same", use_bias=False)(x)

    def normalize(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    image = layers.Input((28, 28, 1), name="image")
    x = layers.ReLU()(normalize(convolve(image, 16, 3, 1)))
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        inner = layers.ReLU()(normalize(convolve(x, width, 3, stride)))
        inner = normalize(convolve(inner, width, 3, 1))
        passed = x if stride == 1 else convolve(x, width, 1, stride)
        x = layers.ReLU()(layers.Add()([inner, passed]))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(10, activation="softmax")(x)
    return keras.keras3().Model(image, outputs, name="resnet8")


def lenet300() -> Any:
    """LeNet-300-100 (LeCun et al. 1998): 266,610 parameters."""
    layers = keras.keras3().layers
    stack = [layers.Input((28, 28, 1), name="image"), layers.Flatten()]
    stack += [layers.Dense(width, activation="relu") for width in (300, 100)]
    return keras.keras3().Sequential(
        [*stack, layers.Dense(10, activation="softmax")], name="lenet300"
    )


def lenet5() -> Any:
    """LeNet-5 as in Caffe and Deep Compression (Han et al. 2016): 431,080 parameters."""
    layers = keras.keras3().layers
    stack = [layers.Input((28, 28, 1), name="image")]
    for width in (20, 50):
        stack += [layers.Conv2D(width, 5), layers.MaxPooling2D(2)]
    stack += [layers.Flatten(), layers.Dense(500, activation="relu")]
    return keras.keras3().Sequential(
        [*stack, layers.Dense(10, activation="softmax")], name="lenet5"
    )


NETWORKS = {f.__name__: f for f in (separable, resnet8, lenet300, lenet5)}


def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images ``[n, h, w, c]`` shifted by at most two pixels, half of them mirrored."""
    n, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    dy, dx = rng.integers(0, 5, (2, n, 1, 1))
    rows, columns = np.arange(height)[None, :, None] + dy, np.arange(width)[None, None, :] + dx
    shifted = padded[np.arange(n)[:, None, None], rows, columns]
    mirrored = rng.random(n) < 0.5
    shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted


def train(path: Path, build: Any = separable, epochs: int = EPOCHS) -> None:
    """Train a network on Fashion-MNIST and save it; the test split is not looked at."""
    keras.start(SEED)
    keras.keras3().utils.set_random_seed(SEED)
    data = open_source("fashion-mnist").load()
    assert data.training is not None
    assert data.validation is not None
    x = data.feed(data.training, ["image"])["image"].astype(np.float32)
    y = next(iter(data.training.outputs.values()))
    held_out = data.feed(data.validation, ["image"])["image"]
    model = build()
    steps = len(x) // BATCH * epochs
    rate = keras.keras3().optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = keras.keras3().optimizers.Adam(rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(SEED)
    for epoch in range(epochs):
        started = time.perf_counter()
        model.fit(augment(x, rng), y, batch_size=BATCH, verbose=0)
        loss, accuracy = model.evaluate(
            held_out, next(iter(data.validation.outputs.values())), batch_size=500, verbose=0
        )
        took = time.perf_counter() - started
        print(
            f"epoch {epoch + 1}/{epochs}: {accuracy:.4f}, {loss:.4f}, {took:.0f} s", file=sys.stderr
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


if __name__ == "__main__":
    train(Path(sys.argv[2]), NETWORKS[sys.argv[1]])
