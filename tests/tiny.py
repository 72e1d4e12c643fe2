"""A small classifier of digits, fitted in closed form, and the command line run within a test."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack import keras
from edgepack.__main__ import run
from edgepack.data.dataset import Dataset

BUG = 70


def save_classifier(path: Path, digits: Dataset) -> Path:
    """Save 8 random filters and a dense layer that least squares fits, over 90 % right."""
    layers = keras.tf_keras().layers
    keras.start(0)
    image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="filters")(image)
    features = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(x))
    scores = layers.Dense(10, activation="softmax", name="scores")
    model = keras.tf_keras().Model(image, scores(features), name="tiny")
    assert digits.training is not None
    (images,) = digits.feed(digits.training, ["image"]).values()
    (labels,) = digits.training.outputs.values()
    found = keras.tf_keras().Model(image, features)(images).numpy()
    padded = np.concatenate([found, np.ones((len(found), 1))], 1)
    targets = 10 * np.eye(10)[labels]
    solved = np.linalg.solve(padded.T @ padded + 0.1 * np.eye(73), padded.T @ targets)
    scores.set_weights([solved[:-1], solved[-1]])
    model.save(path)
    return path


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a run of the command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; NaN is no JSON."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        found: dict[str, Any] = json.loads(self.out, parse_constant=refuse)
        return found

    def refused(self, code: int, *words: str) -> None:
        """It failed as documented: an error that says these words, a hint, and no traceback."""
        assert self.code == code, (self.code, self.err)
        lines = self.err.rstrip("\n").split("\n")
        assert [line for line in lines if line.startswith("error: ")] == [lines[-2]], self.err
        assert lines[-1].startswith("hint: "), self.err
        assert len(lines[-1]) > len("hint: ")
        assert "Traceback" not in self.err
        for word in words:
            assert word in lines[-2] + lines[-1], (word, lines)


class CommandLine:
    """Runs ``edgepack`` in this process, which imports TensorFlow only once."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: str | Path) -> Ran:
        self._capture.readouterr()
        code = run([str(word) for word in words])
        out, err = self._capture.readouterr()
        return Ran(code, out, err)


def start(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start ``edgepack`` as a process of its own; what it says is read through pipes."""
    environment = {**os.environ, **options.pop("env", {})}
    code = (  # a process that was started in the background would not hear of Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgepack.__main__ import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for a process."""
    out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out, err)
