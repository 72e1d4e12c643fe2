"""A model that comes in sparse or clustered keeps it, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack import keras
from edgepack.errors import RecipeError
from edgepack.intake import read
from edgepack.pipeline import build
from edgepack.plan import make_plan
from edgepack.progress import silent
from edgepack.source import open_model
from edgepack.store import Store


def dense(kernel: Any) -> Any:
    layers = keras.tf_keras().layers
    image = layers.Input((8, 8, 1), name="image")
    scores = layers.Dense(10, activation="softmax", name="scores")(layers.Flatten()(image))
    model = keras.tf_keras().Model(image, scores)
    model.get_layer("scores").set_weights([kernel, np.zeros(10)])
    return model


def test_structure_that_a_model_came_with_is_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(64, 10))
    for changed, known in (
        (kernel, set()),
        (np.where(rng.random((64, 10)) < 0.7, 0, kernel), {"sparse"}),
        (np.round(kernel), {"sparse", "clustered"}),
    ):
        stage = read(open_model(dense(changed)), Store(tmp_path), 0, silent)
        assert stage.artifact.properties == known


@pytest.mark.training
def test_zeros_that_a_model_came_with_are_kept_through_qat(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = np.where(rng.random((64, 10)) < 0.7, 0, rng.normal(size=(64, 10)))
    words = ["qat.epochs=1"]
    planned = make_plan(
        dense(kernel), "rpi4", recipe="qat-int8", data="digits", settings=words, out=tmp_path / "b"
    )
    bundle = build(planned, store=Store(tmp_path / "store"))
    assert bundle.manifest["structure"]["zeros"] >= np.mean(kernel == 0)


def test_a_step_that_would_lose_it_is_refused(tmp_path: Path) -> None:
    kernel = np.round(np.random.default_rng(0).normal(size=(64, 10)))
    planned = make_plan(
        dense(kernel), "rpi4", recipe="prune-int8", data="digits", out=tmp_path / "b"
    )
    with pytest.raises(RecipeError, match="clustered"):
        build(planned, store=Store(tmp_path / "store"))
    assert not (tmp_path / "b").exists()
