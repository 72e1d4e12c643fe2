"""Every kind of layer through the bridge, a file, a stored model and the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_zoo as zoo
import numpy as np
import pytest
from samples import read_model as read

from edgepack import keras
from edgepack.data.dataset import Dataset, Split
from edgepack.errors import ModelError
from edgepack.network import bridge, bridge_check, bridge_layers, graph
from edgepack.network.walk import inputs_of, output_names, outputs_of
from edgepack.plugins import class_of, load
from edgepack.step import Given
from edgepack.target import read_target

BOTH = zoo.LAYERS | zoo.ACTIVATIONS
ONLY_3 = zoo.NEW_ACTIVATIONS | {f"ops_{name}": build for name, build in zoo.OPERATIONS.items()}
CASES = [(2, name) for name in BOTH] + [(3, name) for name in BOTH | ONLY_3]


def package(version: int) -> Any:
    return keras.tf_keras() if version == 2 else keras.keras3()


def outputs(model: Any, inputs: list[Any]) -> list[np.ndarray]:
    return bridge_check._run(model, inputs)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    keras.start(0)


@pytest.mark.parametrize(("version", "name"), CASES)
def test_every_kind_of_layer(version: int, name: str, tmp_path: Path) -> None:
    original = (BOTH | ONLY_3)[name](package(version))
    file = tmp_path / ("model.h5" if version == 2 and name in zoo.ACTIVATIONS else "model.keras")
    original.save(file)

    model = read(file)

    assert all(not hasattr(layer, "_nodes_by_depth") for layer in model.layers)
    assert inputs_of(model) == inputs_of(original)
    assert [o[0] for o in outputs_of(model)] == output_names(original)
    samples = bridge_check.sample_inputs(model, seed=1)
    wanted = outputs(original, samples)
    for a, b in zip(wanted, outputs(model, samples), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4 * max(1, np.abs(a).max()))
    stored = _stored(model, tmp_path / "model.npz")
    for a, b in zip(outputs(model, samples), outputs(stored, samples), strict=True):
        np.testing.assert_array_equal(a, b)
    for quantization in ("float32", "int8"):
        assert convert(stored, quantization)[4:8] == b"TFL3"


def _stored(model: Any, path: Path) -> Any:
    path.write_bytes(keras.dump(model))
    return keras.read(path)


def convert(model: Any, quantization: str) -> bytes:
    step = class_of(load("steps", "convert"))(quantization=quantization, samples=4)
    data: bytes = step.apply(
        model, Given(read_target("rpi4"), Dataset("noise", "", noise(model), None, None))
    )
    return data


def noise(model: Any) -> Split:
    samples = zip(model.input_names, bridge_check.sample_inputs(model), strict=True)
    return Split({name: np.concatenate([np.asarray(x)] * 2) for name, x in samples})


@pytest.mark.parametrize("version", [2, 3])
def test_a_changed_weight_is_found_and_its_layer_named(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = zoo.nested(package(version))
    whole = bridge_layers.weights_of

    def faulty(layer: Any, new: Any = None) -> list[Any]:
        weights = whole(layer, new)
        return [w + (layer.name == "norm") * 0.5 for w in weights]

    monkeypatch.setattr(bridge, "weights_of", faulty)
    monkeypatch.setattr(bridge_layers, "weights_of", faulty)
    with pytest.raises(ModelError, match=r"changes layer 'norm' \(BatchNormalization\)") as caught:
        bridge.to_flat(original)
    assert "--custom" in caught.value.hint


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_broken_weights_are_refused(version: int, value: float, word: str) -> None:
    model = zoo.nested(package(version))
    norm = model.get_layer("backbone").get_layer("norm")
    gamma, *rest = norm.get_weights()
    gamma[1] = value
    norm.set_weights([gamma, *rest])
    with pytest.raises(ModelError, match=rf"gamma.*'norm'.*{word}"):
        bridge.to_flat(model)


@pytest.mark.parametrize("version", [2, 3])
def test_models_without_a_graph_are_refused(version: int) -> None:
    k = package(version)

    class Mine(k.Model):  # type: ignore[misc,name-defined]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(ModelError, match="subclass Mine") as caught:
        bridge.to_flat(Mine())
    assert "functional" in caught.value.hint
    with pytest.raises(ModelError, match="no input shape"):
        bridge.to_flat(k.Sequential([k.layers.Dense(1)]))


def _single(make: Any) -> Any:
    return zoo.chain(zoo.STEPS, make)(keras.keras3())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: n.RMSNormalization(name="rms"), "'rms' is a RMSNormalization"),
        (lambda n: n.LSTM(2, activation="hard_tanh", name="r"), "activation 'hard_tanh'.*'r'"),
        (lambda n: n.GRU(2, recurrent_activation="hard_sigmoid", name="r"), "'hard_sigmoid'.*'r'"),
        (
            lambda n: n.Bidirectional(n.SimpleRNN(2, activation="relu6", name="r")),
            "activation 'relu6'",
        ),
        (lambda n: lambda x: keras.keras3().ops.einsum("bij->bji", x), "einsum"),
    ],
)
def test_what_has_no_twin_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        bridge.bridge(_single(make))
    assert caught.value.hint


def test_calls_that_cannot_be_stored_are_refused() -> None:
    tf, k = keras.tensorflow(), keras.tf_keras()
    inputs = k.Input(zoo.STEPS)
    with pytest.raises(ModelError, match=r"tf\.einsum"):
        bridge.flatten(k.Model(inputs, tf.einsum("bij,bkj->bik", inputs, inputs)))


def test_settings_for_training_survive() -> None:
    k = keras.keras3()
    inputs = k.Input(zoo.FLAT)
    layer = k.layers.Dense(3, kernel_regularizer=k.regularizers.L1L2(0.1, 0.2), trainable=False)
    x = k.layers.Dropout(0.3)(layer(inputs))
    x = k.layers.Dense(2, kernel_constraint=k.constraints.MaxNorm(1.5), name="last")(x)
    _, dense, dropout, last = bridge.bridge(k.Model(inputs, x)).layers
    assert not dense.trainable and last.trainable
    assert float(dense.kernel_regularizer.l2) == pytest.approx(0.2)
    assert last.kernel_constraint.max_value == 1.5
    assert dropout.rate == 0.3
    ones = np.ones((1, 100), np.float32)
    assert (np.asarray(dropout(ones, training=True)) == 0).any()


def test_a_frozen_call_of_a_nested_model_stays_frozen() -> None:
    flat = bridge.flatten(zoo.nested(keras.tf_keras()))
    before = flat.get_layer("norm").get_weights()
    flat(100 * np.ones((2, *zoo.IMAGE), np.float32), training=True)
    for a, b in zip(before, flat.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("version", [2, 3])
def test_shared_layers_stay_shared_and_names_unique(version: int) -> None:
    flat = bridge.to_flat(zoo.siamese(package(version)))
    assert len([x for x in flat.layers if type(x).__name__ == "Conv2D"]) == 1
    nested = bridge.to_flat(zoo.nested(package(version)))
    assert {"conv", "backbone_conv", "norm", "head"} <= {x.name for x in nested.layers}


def test_a_split_activation_leaves_the_output_its_name() -> None:
    k = keras.keras3()
    inputs = k.Input(zoo.FLAT)
    x = k.layers.Dense(4, activation="hard_silu", name="hidden")(inputs)
    model = bridge.bridge(k.Model(inputs, k.layers.Dense(4, activation="celu", name="out")(x)))
    assert model.output_names == ["out"]
    assert type(model.get_layer("hidden")).__name__ == "Dense"


@pytest.mark.parametrize("version", [2, 3])
def test_mixed_precision_becomes_float32(version: int) -> None:
    k = package(version)
    inputs = k.Input(zoo.FLAT)
    x = k.layers.Dense(4, dtype="mixed_float16")(inputs)
    flat = bridge.to_flat(k.Model(inputs, k.layers.Dense(2, dtype="float32")(x)))
    assert {layer.compute_dtype for layer in flat.layers} == {"float32"}


def test_inputs_with_open_dimensions_are_sampled() -> None:
    k = keras.keras3()
    inputs = k.Input((None, None, 3))
    x = k.layers.Conv2D(4, 3, strides=2)(inputs)
    flat = bridge.bridge(k.Model(inputs, k.layers.GlobalAveragePooling2D()(x)))
    assert inputs_of(flat)[0][1] == (None, None, None, 3)


def test_samples_suit_what_they_feed() -> None:
    k = keras.tf_keras()
    tokens, image = k.Input((50,), name="tokens"), k.Input((4,), dtype="uint8", name="image")
    x = k.layers.Embedding(3, 2)(keras.tensorflow().cast(tokens, "int32"))
    flat = k.Model([tokens, image], [x, k.layers.Rescaling(0.1)(image)])
    first, second = (np.asarray(s) for s in bridge_check.sample_inputs(flat))
    assert set(np.unique(first)) == {0.0, 1.0, 2.0} and first.dtype == np.float32
    assert second.dtype == np.uint8 and second.max() > 2


def test_difference_is_relative_and_sees_shapes_and_nan() -> None:
    assert bridge_check.difference([1000.0, 0.0], [1000.0, 0.05]) == pytest.approx(5e-5)
    assert bridge_check.difference([0.1], [0.2]) == pytest.approx(0.1)
    assert bridge_check.difference([np.nan, np.inf], [np.nan, np.inf]) == 0.0
    assert bridge_check.difference([np.nan], [0.0]) == np.inf
    assert bridge_check.difference([0.0], [[0.0]]) == np.inf
    assert bridge_check.difference([np.inf, 1.0], [1.0, 1.0]) == np.inf


def test_rebuild_fixes_the_batch_and_replaces_layers() -> None:
    model = bridge.flatten(zoo.trained_norm(keras.tf_keras()))

    def make(layer: Any, name: str) -> Any:
        if type(layer).__name__ == "BatchNormalization":
            return graph.Replacement(call=lambda x: x)
        weights = [w * 0 + 1 for w in layer.get_weights()]
        return graph.Replacement(layer=graph.copy_layer(layer, name), weights=weights)

    new = graph.rebuild(model, make, batch_size=1, name="short")
    assert new.name == "short" and new.inputs[0].shape == (1, *zoo.IMAGE)
    assert [type(x).__name__ for x in new.layers] == ["InputLayer", "Conv2D", "Activation"]
    assert all((w == 1).all() for w in new.get_weights())
    assert new.output_names == model.output_names


def test_a_real_legacy_model(models: Path) -> None:
    model = read(models / "emotion_model.hdf5")
    assert model.count_params() == 58423
    assert inputs_of(model) == [("input_1", (None, 64, 64, 1), "float32")]


def test_a_real_keras3_model(models: Path) -> None:
    model = read(models / "mobilenet_v2_035_96.keras")
    original = keras.keras3().models.load_model(models / "mobilenet_v2_035_96.keras")
    x = bridge_check.sample_inputs(model)
    np.testing.assert_allclose(model(x[0]), original(x[0]), atol=1e-6)
