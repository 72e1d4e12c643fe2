"""What a thawed model is for: it is pruned, clustered, trained and converted again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import given, noise_for, separable_network

from edgepack import audit, keras
from edgepack.data.dataset import Dataset, Split
from edgepack.steps.cluster import Cluster
from edgepack.steps.convert import Convert
from edgepack.steps.finetune import Finetune
from edgepack.steps.prune import Prune
from edgepack.steps.qat import Qat
from edgepack.steps.thaw import Thaw
from edgepack.training.objective import derive_loss

ONCE = {"epochs": 1, "batch_size": 16}


def residual_network() -> Any:
    """Normalization and activation before each convolution, so that nothing folds it away."""
    layers = keras.tf_keras().layers
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    for i, filters in enumerate((8, 16)):
        y = layers.ReLU()(layers.BatchNormalization(name=f"norm_{i}")(x))
        y = layers.Conv2D(filters, 3, 1 + i, padding="same", name=f"conv_{i}")(y)
        x = layers.Conv2D(filters, 1, 1 + i, name=f"short_{i}")(x)
        x = layers.Add(name=f"add_{i}")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.tf_keras().Model(image, layers.Dense(4, activation="softmax", name="scores")(x))


def labelled(model: Any, count: int = 32) -> Dataset:
    """Noise with labels of two classes."""
    noise = noise_for(model, count)
    assert noise.training is not None
    labels = np.random.default_rng(0).integers(0, 2, count)
    split = Split(noise.training.inputs, {model.output_names[0]: labels})
    return Dataset("noise", "0" * 64, split, None, split)


def thawed(source: Any) -> Any:
    """A model after a way through a float .tflite; it knows of no layer any more."""
    random = np.random.default_rng(0)
    for weight in source.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    data = Convert(quantization="float32").apply(source, given())
    keras.start(0)
    return Thaw().apply(data, given())


def zeros(form: str, model: Any) -> dict[str, float]:
    """The part of zeros by layer."""
    found = audit.structures(audit.audit(form, model))
    return {s.name.split("/")[0]: round(s.zeros, 2) for s in found if "depthwise" not in s.name}


NETWORKS = [separable_network, residual_network]


@pytest.mark.training
@pytest.mark.parametrize("network", NETWORKS)
def test_it_goes_the_whole_way(network: Callable[[], Any]) -> None:
    keras.start(0)
    model = thawed(network())
    data = labelled(model)
    assert str(derive_loss(model, data)) == "sparse_categorical_crossentropy"
    pruned = Prune(sparsity=0.5, **ONCE).apply(model, given(data))
    sparse = {"properties": frozenset({"sparse"})}
    small = Cluster(clusters=8, **ONCE).apply(pruned, given(data, **sparse))
    kept = zeros("keras", small)
    assert len(kept) >= 3 and set(kept.values()) == {0.5}
    for quantization in ("float32", "int8"):
        made = Convert(quantization=quantization).apply(small, given(data))
        found = zeros("tflite", made)
        assert {name: found[name] for name in kept} == pytest.approx(kept, abs=0.05)


@pytest.mark.training
@pytest.mark.parametrize("network", NETWORKS)
def test_it_trains_with_rounding(network: Callable[[], Any]) -> None:
    keras.start(0)
    model = thawed(network())
    data = labelled(model)
    rounded = Qat(**ONCE).apply(model, given(data))
    assert rounded.output_names == model.output_names == ["scores"]
    assert Convert().apply(rounded, given(data))


@pytest.mark.training
def test_training_changes_every_weight() -> None:
    keras.start(0)
    model = thawed(residual_network())
    before = [w.numpy() for w in model.trainable_weights]
    Finetune(learning_rate=1e-2, **ONCE).apply(model, given(labelled(model)))
    pairs = zip(before, model.trainable_weights, strict=True)
    assert not [w.name for old, w in pairs if np.array_equal(old, w.numpy())]


@pytest.mark.training
def test_a_model_of_sound_is_thawed(models: Path) -> None:
    facts: dict[str, Any] = {}
    remarks: list[str] = []
    keras.start(0)
    data = (models / "basic_pitch_nmp.tflite").read_bytes()
    model = Thaw().apply(data, given(record=facts.__setitem__, remark=remarks.append))
    assert facts["difference"] <= 1e-4
    assert model.output_names == ["onset", "note", "contour"]
    assert "the kernel of" in remarks[1]
    learnt = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert learnt == 16_957
    at_once = Prune(sparsity=0.5, epochs=0).apply(model, given())
    assert set(zeros("keras", at_once).values()) == {0.5}
    assert len(Convert(quantization="float32").apply(at_once, given())) < 1.1 * len(data)
