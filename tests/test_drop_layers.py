"""Blocks without which a model does nearly as well are left out."""

from __future__ import annotations

from typing import Any

import channel_models
import numpy as np
import pytest
from samples import accuracy, given, noise_for

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.kernels import macs
from edgepack.steps.drop_layers import DropLayers
from edgepack.surgery.blocks import droppable
from edgepack.training.block_scores import changes


def residual(scales: tuple[float, ...]) -> Any:
    """Residual blocks on eight channels, whose branches are scaled."""
    keras.start(0)
    layers = keras.tf_keras().layers
    start = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(start)
    for i, scale in enumerate(scales):
        inner = layers.Conv2D(8, 3, padding="same", name=f"block_{i}")(x)
        inner = layers.Rescaling(scale)(inner)
        x = layers.ReLU(name=f"out_{i}")(layers.Add(name=f"sum_{i}")([x, inner]))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.tf_keras().Model(start, layers.Dense(10, activation="softmax")(x))


def told(step: DropLayers, model: Any, data: Dataset) -> tuple[Any, dict[str, Any]]:
    facts: dict[str, Any] = {"remarks": []}
    noted = given(data, record=facts.__setitem__, remark=facts["remarks"].append)
    return step.apply(model, noted), facts


@pytest.mark.parametrize("importance", ["change", "loss"])
def test_the_block_that_does_nothing_goes_first(digits: Dataset, importance: str) -> None:
    model = residual((1.0, 0.0, 2.0))
    step = DropLayers(epochs=0, importance=importance, samples=32)
    shorter, facts = told(step, model, digits)
    names = [layer.name for layer in shorter.layers]
    assert "block_1" not in names and {"block_0", "block_2"} <= set(names)
    assert macs(shorter) == macs(model) - 8 * 8 * 9 * 8 * 8
    (dropped,) = facts["dropped"]
    assert "block_1" in dropped["layers"] and dropped["score"] == pytest.approx(0, abs=1e-5)
    assert len(facts["remarks"]) == 1 and "block_1 to" in facts["remarks"][0]
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    assert np.abs(model(images) - shorter(images)).max() < 1e-6


def test_changes_are_those_of_the_signal() -> None:
    model = residual((0.0, 3.0))
    samples = noise_for(model, 16).test
    assert samples is not None
    found = changes(model, droppable(model), [([samples.inputs["image"]], [])])
    assert found[0] == pytest.approx(0, abs=1e-5) and found[1] > 0.01


def test_as_many_go_as_are_wanted_and_there_are(digits: Dataset) -> None:
    half = DropLayers(epochs=0, ratio=0.5, samples=32)
    assert len(told(half, residual((1.0,) * 3), digits)[1]["dropped"]) == 2
    all_of_them = DropLayers(epochs=0, count=3, samples=32)
    shorter, facts = told(all_of_them, residual((1.0, 1.0)), digits)
    assert [x.name for x in shorter.layers if x.name.startswith("block")] == []
    assert facts["remarks"][-1] == "no other block can be left out"
    kept, _ = told(DropLayers(epochs=0, skip="block_0"), residual((0.0, 1.0)), digits)
    assert "block_0" in [x.name for x in kept.layers]


@pytest.mark.training
def test_it_learns_to_do_without(digits: Dataset) -> None:
    step = DropLayers(epochs=3, learning_rate=5e-3, batch_size=64, samples=64)
    shorter, _ = told(step, residual((1.0, 1.0)), digits)
    assert accuracy(shorter, digits) > 0.8


def test_a_model_without_such_blocks_is_refused(digits: Dataset) -> None:
    keras.start(0)
    with pytest.raises(StepError, match="no block that can be left out"):
        DropLayers(epochs=0).apply(channel_models.flattened(), given(digits))


def test_a_wrong_expression_is_refused_and_needs_are_told() -> None:
    with pytest.raises(RecipeError, match=r"drop_layers.skip"):
        DropLayers(skip="[").check()
    assert DropLayers(epochs=0).needs() == frozenset({"training"})
    assert DropLayers(epochs=0, importance="loss").needs() == frozenset({"training", "labels"})
