"""Weights across layers: tied where shapes allow and stored once, or of few values for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import accuracy, given

from edgepack import audit, keras
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.kernels import kernels, parameters
from edgepack.steps.convert import Convert
from edgepack.steps.fold import Fold
from edgepack.steps.qat import Qat
from edgepack.steps.share import Share
from edgepack.steps.strip import Strip
from edgepack.steps.tie import Tie
from edgepack.surgery.tying import equal_layers, tie
from edgepack.training.codebooks import codebooks

ONCE = {"epochs": 0}


def residual() -> Any:
    """Two equal blocks of two kinds of layers between a stem and scores."""
    keras.start(0)
    layers = keras.tf_keras().layers
    image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    for i in range(2):
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"whole_{i}")(x)
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"depth_{i}")(y)
        x = layers.Add(name=f"sum_{i}")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.tf_keras().Model(image, layers.Dense(10, activation="softmax", name="scores")(x))


def tied_by(model: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
    recorded: dict[str, Any] = {}
    made = Tie(**ONCE, **settings).apply(model, given(record=recorded.__setitem__))
    return made, recorded


def test_equal_layers_become_one_with_their_mean() -> None:
    model = residual()
    made, recorded = tied_by(model)
    assert recorded["tied"] == [["whole_0", "whole_1"], ["depth_0", "depth_1"]]
    means = [
        (model.get_layer("whole_0").kernel.numpy() + model.get_layer("whole_1").kernel.numpy()) / 2
    ]
    np.testing.assert_allclose(made.get_layer("whole_0").kernel, means[0], rtol=1e-5)
    assert parameters(model) - parameters(made) == (9 * 64 + 8) + (9 * 8 + 8)
    assert len(made.get_layer("whole_0").inbound_nodes) == 2


def test_tied_layers_compute_as_if_each_had_the_weights() -> None:
    model = residual()
    for word in ("whole", "depth"):
        model.get_layer(f"{word}_1").set_weights(model.get_layer(f"{word}_0").get_weights())
    made, _ = tied_by(model, start="first")
    samples = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(made(samples), model(samples))


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_what_is_deployed_holds_tied_weights_once(digits: Dataset, quantization: str) -> None:
    model = residual()
    made, _ = tied_by(model)
    sizes, counts = [], []
    for each in (model, made):
        converted = Convert(quantization=quantization).apply(each, given(digits))
        stripped = Strip().apply(converted, given())
        sizes.append(len(stripped))
        counts.append(sum(w["size"] for w in audit.audit("tflite", stripped)["weights"]))
    assert counts[0] - counts[1] == 9 * 64 + 9 * 8
    width = 4 if quantization == "float32" else 1
    assert sizes[0] - sizes[1] >= 0.9 * width * (9 * 64 + 9 * 8)


def test_groups_are_limited() -> None:
    layers = keras.tf_keras().layers
    x = image = layers.Input((6,))
    for i in range(5):
        x = layers.Dense(6, name=f"d{i}")(x)
    model = keras.tf_keras().Model(image, x)
    names = [[layer.name for layer in g] for g in equal_layers(model.layers, 2)]
    assert names == [["d0", "d1"], ["d2", "d3"]]
    assert [len(g) for g in equal_layers(model.layers, 0)] == [5]


def test_layers_that_read_the_same_value_or_differ_are_not_tied() -> None:
    layers = keras.tf_keras().layers
    image = layers.Input((6,))
    a, b = (layers.Dense(6, name=name)(image) for name in "ab")
    c = layers.Dense(6, activation="relu", name="c")(layers.Add()([a, b]))
    model = keras.tf_keras().Model(image, layers.Dense(5, name="d")(c))
    assert equal_layers(model.layers, 0) == []


def test_an_output_keeps_its_name_though_its_layer_is_another() -> None:
    layers = keras.tf_keras().layers
    image = layers.Input((6,))
    last = layers.Dense(6, name="last")(layers.Dense(6, name="first")(image))
    made = tie(model := keras.tf_keras().Model(image, last), [model.layers[1:]], mean=False)
    assert made.output_names == ["last"]


def test_a_normalization_would_tell_tied_layers_apart(trained: Any) -> None:
    remarks: list[str] = []
    with pytest.raises(StepError, match="no two layers") as caught:
        Tie(**ONCE).apply(trained, given(remark=remarks.append))
    assert "tie.ends" in caught.value.hint
    assert "fold goes before: depthwise_0, pointwise_0" in remarks[0]


def test_wrong_settings_are_refused() -> None:
    for step in (Share, Tie):
        with pytest.raises(RecipeError, match="no regular expression"):
            step(layers="(").check()
    with pytest.raises(RecipeError, match="together is 1"):
        Tie(together=1).check()


def test_one_codebook_serves_all_chosen_layers(trained: Any) -> None:
    folded = Fold().apply(trained, given())
    recorded: dict[str, Any] = {}
    step = Share(**ONCE, values=16, layers="stem|pointwise.*")
    made = step.apply(folded, given(record=recorded.__setitem__))
    chosen = [k for k in kernels(made) if k.layer.name in recorded["codebook"]["layers"]]
    assert [k.layer.name for k in chosen] == ["stem", "pointwise_0", "pointwise_1"]
    distinct = np.unique(np.concatenate([k.variable.numpy().ravel() for k in chosen]))
    assert len(distinct) <= 16
    deployed = Convert(quantization="float32").apply(made, given())
    found = audit.structures(audit.audit("tflite", deployed))
    (word,) = {s.codebook for s in found if s.name in recorded["codebook"]["layers"]}
    assert word


def test_too_few_values_to_share_are_refused(trained: Any) -> None:
    with pytest.raises(StepError, match="1 layers of the model have 16 values"):
        Share(**ONCE, values=16, layers="scores").apply(trained, given())


def test_weights_have_a_codebook_in_common_that_each_uses_in_part() -> None:
    rng = np.random.default_rng(0)
    book = rng.normal(size=12).astype(np.float32)
    low, high, own = book[:9], book[3:], rng.normal(size=9).astype(np.float32)
    weights = [rng.choice(values, 300) for values in (low, own, high)]
    first, other, last = codebooks([*weights])
    assert first == last != other
    signs = [rng.choice(np.float32([-1, 0, 1]), 300) for _ in range(2)]
    assert codebooks([*signs, weights[0]]) == ["", "", ""]
    assert codebooks([rng.normal(size=300).astype(np.float32), np.arange(300) % 7]) == ["", ""]


@pytest.mark.training
def test_training_keeps_the_codebook_and_so_does_what_follows(
    trained: Any, digits: Dataset
) -> None:
    folded = Fold().apply(trained, given())
    step = Share(values=24, epochs=1, batch_size=64)
    made = step.apply(folded, given(digits))
    assert accuracy(made, digits) > 0.85
    kept = given(digits, properties=frozenset({"shared", "clustered"}))
    rounded = Qat(epochs=1, batch_size=256).apply(made, kept)
    for model in (made, rounded):
        chosen = [k for k in kernels(model) if k.word == "kernel"]
        distinct = np.unique(np.concatenate([k.variable.numpy().ravel() for k in chosen]))
        assert len(distinct) <= 24
    deployed = Convert(quantization="int8").apply(rounded, kept)
    found = [s for s in audit.structures(audit.audit("tflite", deployed)) if s.size > 400]
    assert all(s.unique_in_tensor <= 24 for s in found)


@pytest.mark.training
def test_tied_layers_are_trained_as_one(digits: Dataset) -> None:
    made = Tie(epochs=8, batch_size=64, learning_rate=1e-2).apply(residual(), given(digits))
    assert accuracy(made, digits) > 0.3
    assert len(made.get_layer("depth_0").inbound_nodes) == 2
