"""Structure in weights: measured, named, missed when lost, and kept through training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import given, noise_for

from edgepack import audit, keras
from edgepack.network.kernels import keras_weights, kernels, macs, parameters
from edgepack.steps.convert import Convert
from edgepack.steps.qat import Qat
from edgepack.training import keeping, kmeans
from edgepack.training.properties import (
    Weight,
    WeightStructure,
    is_two_of_four,
    lost,
    measure,
    present,
)


def weight(values: Any, axis: int = -1) -> Weight:
    array = np.asarray(values, np.float32)
    return Weight("w", array, axis % array.ndim)


def structure(**facts: Any) -> WeightStructure:
    usual = {
        "name": "w",
        "size": 1000,
        "zeros": 0.0,
        "unique_in_tensor": 1000,
        "unique_in_channel": 100,
        "two_of_four": False,
        "channels": 10,
    }
    return WeightStructure(**{**usual, **facts})


def test_zeros_and_values_are_counted_by_tensor_and_by_channel() -> None:
    (found,) = measure([weight([[0, 1], [0, 2], [5, 3]])])
    assert (found.size, found.channels) == (6, 2)
    assert found.zeros == pytest.approx(1 / 3)
    assert found.unique_in_tensor == 5
    assert found.unique_in_channel == 3


def test_channels_follow_the_axis() -> None:
    (found,) = measure([weight([[0, 1], [0, 2], [5, 3]], axis=0)])
    assert (found.channels, found.unique_in_channel) == (3, 2)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 0, 1, 2], True),
        ([0, 3, 1, 2], False),
        ([0, 0, 1, 2, 1, 1], True),
        ([0, 0, 1, 2, 1, 1, 1], False),
        ([0, 0, 0], False),
    ],
)
def test_two_of_four_goes_along_the_input_channels(column: list[int], expected: bool) -> None:
    assert is_two_of_four(np.array([column]).T, 1) is expected
    assert is_two_of_four(np.array([column]), 0) is expected


def test_random_weights_have_no_property() -> None:
    rng = np.random.default_rng(0)
    weights = [weight(rng.normal(size=shape)) for shape in ((3, 3, 1, 8), (64, 10), (4, 2))]
    assert present(measure(weights)) == frozenset()


def test_properties_are_read_off_the_weights() -> None:
    sparse = weight(np.where(np.arange(100) % 3, 0, np.arange(100)).reshape(10, 10))
    clustered = weight((np.arange(100) % 7 + 1).reshape(10, 10))
    assert present(measure([sparse])) == {"sparse"}
    assert "clustered" in present(measure([clustered]))


def test_lost_zeros_are_told() -> None:
    before = [structure(zeros=0.8)]
    assert lost(before, [structure(zeros=0.8)], {"sparse"}) == []
    (sentence,) = lost(before, [structure(zeros=0.7)], {"sparse"})
    assert sentence == "800 zeros in sparse weights became 700"
    assert lost(before, [structure(zeros=0.7)], set()) == []


def test_zeros_are_compared_whatever_a_conversion_calls_the_weights() -> None:
    before = [structure(zeros=0.8), structure(name="v", zeros=0.02)]
    after = [structure(name="a", zeros=0.8), structure(name="b", zeros=0.01)]
    assert lost(before, after, {"sparse"}) == []
    assert lost(before, [structure(name="a", zeros=0.7)], {"sparse"})


def test_lost_clusters_are_told() -> None:
    before = [structure(unique_in_tensor=16, unique_in_channel=16)]
    grown = structure(unique_in_tensor=44, unique_in_channel=16)
    (sentence,) = lost(before, [grown], {"clustered"})
    assert sentence == "w: 16 distinct values became 44"


def test_a_conversion_may_scale_channels_but_not_add_values_to_one() -> None:
    before = [structure(unique_in_tensor=16, unique_in_channel=16)]
    scaled = structure(name="other", unique_in_tensor=90, unique_in_channel=15)
    assert lost(before, [scaled], {"clustered"}) == []
    worse = structure(name="other", unique_in_tensor=90, unique_in_channel=17)
    (sentence,) = lost(before, [worse], {"clustered"})
    assert "16 distinct values in a channel became 17" in sentence


def test_weights_that_share_nothing_may_change() -> None:
    before = [structure(unique_in_tensor=998)]
    assert lost(before, [structure(unique_in_tensor=999)], {"clustered", "sparse"}) == []


SIGNS = np.sign(np.random.default_rng(0).normal(size=(3, 3, 4, 6)))
SCALES = np.arange(1, 7)
HOLES = np.random.default_rng(1).integers(0, 2, SIGNS.shape)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (SIGNS * SCALES, "binary"),
        (np.rint(SIGNS * SCALES * 21), "binary"),
        (SIGNS * [0, *SCALES[1:]], "binary"),
        (SIGNS * SCALES * HOLES, "ternary"),
        (SIGNS * SCALES + 0.1, ""),
        (SIGNS * HOLES * SCALES + 0.1 * HOLES, ""),
        (np.ones((3, 3, 1, 4)), ""),
        (np.eye(6), ""),
        (np.eye(6) - np.eye(6, k=1), ""),
        ([[2.0, -3.0, 1.5]], ""),
        (np.zeros((4, 4)), ""),
    ],
)
def test_a_sign_times_a_number_of_the_channel_is_told_from_what_is_so_by_accident(
    values: Any, expected: str
) -> None:
    (found,) = measure([weight(values)])
    assert found.signed == ({expected} if expected else set())
    assert (expected or "binary") in present([found]) if expected else True


def test_pruned_weights_are_not_ternary_by_accident() -> None:
    lonely = np.where(np.arange(90).reshape(9, 10) % 9 == 0, np.arange(90).reshape(9, 10) - 40, 0)
    (found,) = measure([weight(lonely)])
    assert found.zeros > 0.8
    assert not found.ternary


def test_lost_signs_are_told_whatever_a_conversion_calls_the_weights() -> None:
    before = [structure(binary=True), structure(name="v", ternary=True)]
    kept = {"binary", "ternary"}
    same = [structure(name="a", ternary=True), structure(name="b", binary=True)]
    assert lost(before, same, kept) == []
    assert lost(before, [structure(size=500)], kept) == []
    gone = [structure(name="a", ternary=True), structure(name="b")]
    (sentence,) = lost(before, gone, kept)
    assert sentence == "1 weights of 1000 values are no longer binary"
    assert lost(before, gone, set()) == []


def test_weights_with_the_same_few_values_share_them_until_one_moves() -> None:
    rng = np.random.default_rng(0)
    first, second, other = (weight(rng.choice(8, (20, 10)) + shift) for shift in (0, 0, 0.5))
    found = measure([first, second, other])
    assert "shared" in present(found)
    assert "shared" not in present(found[1:])
    before = [replace(s, name=name) for s, name in zip(found, "abc", strict=True)]
    moved = [replace(s, codebook="") for s in before]
    assert lost(before, before, {"shared"}) == []
    assert lost(before, moved, {"shared"}) == ["a, b no longer have the same values"]


def kernels_of(*units: int) -> list[Any]:
    layers = keras.tf_keras().layers
    stack = [layers.Dense(count, use_bias=False) for count in units]
    return kernels(keras.tf_keras().Sequential([layers.Input((20,)), *stack]))


@pytest.mark.parametrize("zeros", [False, True])
def test_a_keeper_restores_signs_zeros_and_one_magnitude_a_channel(zeros: bool) -> None:
    (kernel,) = kernels_of(6)
    rng = np.random.default_rng(0)
    values = (rng.choice([-1, 0, 1] if zeros else [-1, 1], (20, 6)) * SCALES).astype(np.float32)
    kernel.variable.assign(values)
    (keep,) = keeping.keepers([kernel], {"ternary" if zeros else "binary"})
    kernel.variable.assign(values * 1.25 + rng.normal(0, 0.1, values.shape).astype(np.float32))
    keep()
    kept = kernel.variable.numpy()
    assert np.array_equal(np.sign(kept), np.sign(values))
    assert measure([kernel.weight()])[0].signed == {"ternary" if zeros else "binary"}
    assert np.abs(np.abs(kept).max(0) / SCALES - 1.25).max() < 0.1


def test_a_keeper_restores_values_that_layers_have_in_common() -> None:
    found = kernels_of(8, 8)
    rng = np.random.default_rng(0)
    before = [rng.choice([0, 1, 2, -3, 7], k.variable.shape).astype(np.float32) for k in found]
    for kernel, values in zip(found, before, strict=True):
        kernel.variable.assign(values)
    (keep,) = keeping.keepers(found, {"shared", "clustered", "sparse"})
    for kernel, values in zip(found, before, strict=True):
        kernel.variable.assign(values + rng.normal(0, 0.1, values.shape).astype(np.float32))
    keep()
    after = np.concatenate([kernel.variable.numpy().ravel() for kernel in found])
    assert len(np.unique(after)) == 5
    assert np.array_equal(after == 0, np.concatenate([b.ravel() for b in before]) == 0)


def layers_of_all_kinds() -> Any:
    layers = keras.tf_keras().layers
    x = image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.SeparableConv2D(8, 3)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2)(x)
    x = layers.Conv2D(4, 1, groups=2)(x)
    x = layers.Reshape((13, 52))(x)
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(5))(x)
    return keras.tf_keras().Model(image, layers.Dense(10)(x))


def test_costs_agree_with_those_of_the_converted_model() -> None:
    keras.start(0)
    model = layers_of_all_kinds()
    converted = Convert(quantization="float32").apply(model, given())
    ours, theirs = audit.audit("keras", model), audit.audit("tflite", converted)
    assert ours["macs"] == theirs["macs"]
    assert len(ours["weights"]) == len(theirs["weights"])
    assert parameters(model) == model.count_params()


@pytest.mark.training
def test_a_kernel_keeps_its_name_inside_a_quantization_wrapper(trained: Any, digits: Any) -> None:
    plain = [w.name for w in keras_weights(trained)]
    count, cost = parameters(trained), macs(trained)
    quantized = Qat(epochs=1, batch_size=512).apply(trained, given(digits))
    assert [w.name for w in keras_weights(quantized)] == plain
    assert (parameters(quantized), macs(quantized)) == (count, cost)


@pytest.mark.parametrize("in_tensor", [True, False])
def test_a_keeper_restores_clusters_and_zeros(in_tensor: bool) -> None:
    layers = keras.tf_keras().layers
    model = keras.tf_keras().Sequential([layers.Input((4, 4, 3)), layers.Conv2D(6, 3)])
    (kernel,) = kernels(model)
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 0.0, 1.0, -2.0, 3.0], kernel.variable.shape).astype(np.float32)
    if not in_tensor:
        values *= np.arange(1, 7, dtype=np.float32)
    kernel.variable.assign(values)
    keep = keeping.keep_clusters(kernel, in_tensor=in_tensor)
    kernel.variable.assign(values + rng.normal(0, 0.1, values.shape).astype(np.float32))
    keep()
    kept = kernel.variable.numpy()
    assert np.array_equal(kept == 0, values == 0)
    for channel in range(6):
        pairs = {
            tuple(p) for p in zip(values[..., channel].flat, kept[..., channel].flat, strict=True)
        }
        assert len(pairs) == len(np.unique(values[..., channel]))
    assert np.abs(kept - values).max() < 0.2
    limit = len(np.unique(values)) if in_tensor else np.inf
    assert len(np.unique(kept)) <= limit


def test_a_depthwise_kernel_has_channels_in_two_dimensions() -> None:
    layers = keras.tf_keras().layers
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2)
    (kernel,) = kernels(keras.tf_keras().Sequential([layers.Input((4, 4, 3)), depthwise]))
    assert kernel.weight().values.shape == (3, 3, 6)
    assert np.array_equal(kernel.channels()[0, 0], [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize("start", kmeans.INITIALIZATIONS)
def test_shared_values_are_few_and_zeros_stay(start: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 30)).astype(np.float32)
    values[rng.random(values.shape) < 0.5] = 0
    shared = kmeans.share(values, 8, start, np.random.default_rng(1))
    assert len(np.unique(shared)) <= 8
    assert np.array_equal(shared == 0, values == 0)
    assert np.mean(np.square(shared - values)) < 0.1 * np.var(values)


def test_clusters_that_are_there_are_found() -> None:
    values = np.repeat(np.float32([-3, 1, 1.5, 8]), 25)
    noisy = values + np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32)
    shared = kmeans.share(noisy, 4, "kmeans++", np.random.default_rng(0))
    assert len(np.unique(shared)) == 4
    assert np.abs(shared - values).max() < 0.02


def test_fewer_values_than_clusters_are_left_alone() -> None:
    values = np.float32([1, 2, 0, 3])
    shared = kmeans.share(values, 4, "linear", np.random.default_rng(0))
    assert np.array_equal(shared, values)


def quantizable() -> Any:
    layers = keras.tf_keras().layers
    stack = [
        layers.Input((8, 8, 1), name="image"),
        *(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()),
        *(layers.SeparableConv2D(8, 3), layers.BatchNormalization(), layers.Activation("relu")),
        *(layers.DepthwiseConv2D(3, padding="same"), layers.ReLU(6.0)),
        *(layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")),
    ]
    return keras.tf_keras().Sequential(stack)


def test_a_quantization_aware_model_survives_its_file(tmp_path: Path) -> None:
    keras.start(0)
    from edgepack.training import quantization

    plain = quantizable()
    handed = given(noise_for(plain))
    model = quantization.quantize(plain, ())
    quantization.set_ranges(model, handed, 8)
    path = tmp_path / "model.npz"
    path.write_bytes(keras.dump(model))
    restored = keras.read(path)
    samples = handed.dataset.test.inputs["image"] if handed.dataset else None
    assert np.array_equal(model(samples), restored(samples))
    assert keras.dump(restored) == path.read_bytes()
    step = Convert()
    assert step.apply(model, handed) == step.apply(restored, handed)
