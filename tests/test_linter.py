from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgepack import keras
from edgepack.data import arrays
from edgepack.data.dataset import Dataset, open_source
from edgepack.data.expectation import Expectation, Range, expect, range_before, range_of
from edgepack.data.linter import lint, lint_for, lint_splits
from edgepack.errors import DataError

NOTHING = Expectation()


def good(count: int = 200, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 6, 5, 1), np.float32)


def codes(x: np.ndarray, expected: Expectation = NOTHING) -> list[str]:
    return [finding.code for finding in lint({"x": x}, expected)]


def with_value(value: float) -> np.ndarray:
    x = good()
    x[7, 2, 2] = value
    return x


SAMPLES: dict[str, tuple[Callable[[], np.ndarray], list[str]]] = {
    "good samples": (good, []),
    "normal samples": (
        lambda: np.random.default_rng(0).normal(size=(200, 5000)).astype(np.float32),
        [],
    ),
    "bytes": (lambda: (good() * 255).astype(np.uint8), []),
    "sparse samples": (lambda: np.eye(200, 9000, dtype=np.float32) * np.arange(1, 9001), []),
    "one-hot samples": (lambda: np.eye(200, 300, dtype=np.float32), []),
    "words of a long tail": (lambda: np.arange(20000).reshape(200, 100) ** 4, []),
    "one sample repeated": (lambda: np.repeat(good(1), 200, axis=0), ["D01"]),
    "some samples repeated": (lambda: np.concatenate([good(197), good(3)]), ["D01"]),
    "two samples repeated of 200": (lambda: np.concatenate([good(198), good(2)]), []),
    "constant samples": (lambda: good() ** 0 * np.arange(200.0).reshape(-1, 1, 1, 1), ["D02"]),
    "single values": (lambda: np.arange(200.0).reshape(-1, 1), []),
    "a NaN": (lambda: with_value(np.nan), ["D04"]),
    "an infinite value": (lambda: with_value(-np.inf), ["D04"]),
    "nothing but NaN": (lambda: good() * np.nan, ["D01", "D04"]),
    "an outlier": (lambda: with_value(-5), ["D05"]),
    "a large value": (lambda: with_value(3), []),
    "few samples": (lambda: good(99), ["D06"]),
    "just enough samples": (lambda: good(100), []),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples_have_the_findings(case: str) -> None:
    make, expected = SAMPLES[case]
    assert codes(make()) == expected


def test_a_finding_tells_figures_and_what_to_do() -> None:
    finding = lint({"x": np.repeat(good(1), 150, axis=0)}, NOTHING)[0]
    assert "149 of 150 samples" in finding.message
    assert finding.hint


def test_samples_of_two_inputs_repeat_only_as_pairs() -> None:
    same, other = np.repeat(good(1), 200, axis=0), good()
    assert not lint({"a": same, "b": other}, NOTHING)
    assert [f.code for f in lint({"a": same, "b": same}, NOTHING)] == ["D01"]


RANGES = {
    "0-1 for 0-1": (0, 1, 0, 1, False),
    "dark pictures": (0, 0.1, 0, 1, False),
    "0-255 for 0-1": (0, 255, 0, 1, True),
    "0-1 for 0-255": (0, 1, 0, 255, True),
    "0-1 for -1-1": (0, 1, -1, 1, False),
    "-1-1 for 0-1": (-1, 1, 0, 1, True),
    "-1-1 for 0-255": (-1, 1, 0, 255, True),
    "0-255 for -128-127": (0, 255, -128, 127, True),
}


@pytest.mark.parametrize("case", RANGES)
def test_a_range_is_compared_with_that_of_training(case: str) -> None:
    low, high, train_low, train_high, found = RANGES[case]
    training = train_low + good(50, seed=3) * (train_high - train_low)
    trained = range_of(training, "it")
    assert trained is not None
    expected = Expectation({"x": trained})
    assert codes(low + good() * (high - low), expected) == (["D03"] if found else [])


RATIOS = {None: [], 1.0: [], 0.004: [], 20.0: [], 200.0: ["D03"], 3e-4: ["D03"], 0.0: ["D03"]}


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_variance_at_a_normalization_is_judged(ratio: float | None) -> None:
    assert codes(good(), Expectation({}, "the layer bn", ratio)) == RATIOS[ratio]


def test_one_cause_is_found_once() -> None:
    both = Expectation({"x": Range(0, 255, "it")}, "the layer bn", 1e-5)
    assert codes(good(), both) == ["D03"]


# What a model tells


def layers() -> Any:
    return keras.tf_keras().layers


@pytest.mark.parametrize(
    ("scale", "offset", "low", "high"),
    [(1 / 255, 0.0, 0, 255), (1 / 127.5, -1.0, 0, 255), (1.0, 0.0, 0, 1), (2.0, -1.0, 0, 1)],
)
def test_a_rescaling_tells_the_range_of_its_inputs(
    scale: float, offset: float, low: float, high: float
) -> None:
    found = range_before(layers().Rescaling(scale, offset))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_normalization_tells_the_range_of_its_inputs() -> None:
    layer = layers().Normalization(mean=[100.0, 120.0], variance=[100.0, 400.0])
    layer.build((None, 2))
    found = range_before(layer)
    assert (found.low, found.high) == pytest.approx((40, 200))


def with_rescaling(*, nested: bool) -> Any:
    model = keras.tf_keras().Sequential([layers().Rescaling(1 / 255), layers().Flatten()])
    outer = layers().Input((6, 5, 1), name="image")
    if nested:
        return keras.tf_keras().Model(outer, model(outer))
    return keras.tf_keras().Model(outer, layers().Flatten()(layers().Rescaling(1 / 255)(outer)))


@pytest.mark.parametrize("nested", [False, True])
def test_the_range_of_the_right_input_is_found(nested: bool) -> None:
    found = expect(with_rescaling(nested=nested), {"image": good()})
    assert list(found.ranges) == ["image"]
    assert found.ranges["image"].high == pytest.approx(255)
    assert found.variance_ratio is None


def test_a_rescaling_elsewhere_tells_nothing_of_the_input() -> None:
    inputs = layers().Input((6, 5, 1), name="image")
    hidden = layers().Rescaling(1 / 255)(layers().Dense(2)(inputs))
    assert not expect(keras.tf_keras().Model(inputs, hidden), {"image": good()}).ranges


def dataset(x: np.ndarray, **more: Any) -> Dataset:
    return arrays.to_dataset("test", {"x_train": x, **more})


def test_a_model_that_scales_by_itself_wants_raw_values() -> None:
    model = with_rescaling(nested=False)
    assert [f.code for f in lint_for(model, dataset(good(400)), seed=0)] == ["D03"]
    assert not lint_for(model, dataset((good(400) * 255).astype(np.uint8)), seed=0)
    scaled = dataset((good(400) * 255).astype(np.uint8), scale=1 / 255)
    (finding,) = lint_for(model, scaled, seed=0)
    assert "0 to 255" in finding.message


@pytest.mark.parametrize("x", [good(200)[:, :5], good(200)[..., 0]])
def test_samples_of_another_shape_are_an_error(x: np.ndarray) -> None:
    with pytest.raises(DataError, match="samples of shape"):
        lint_for(with_rescaling(nested=False), dataset(x), seed=0)


def test_samples_of_another_type_are_an_error() -> None:
    tokens = layers().Input((6,), dtype="int32")
    model = keras.tf_keras().Model(tokens, layers().Embedding(9, 2)(tokens))
    words = np.random.default_rng(0).integers(0, 9, (200, 6))
    assert not lint_for(model, dataset(words), seed=0)
    with pytest.raises(DataError, match="takes int32"):
        lint_for(model, dataset(good(200)[..., 0, 0]), seed=0)


def network(*, bias: bool) -> Any:
    parts = layers()
    return keras.tf_keras().Sequential(
        [
            parts.InputLayer((8, 8, 1)),
            parts.Conv2D(8, 3, use_bias=bias, activation="relu" if bias else None),
            parts.BatchNormalization(),
            parts.GlobalAveragePooling2D(),
            parts.Dense(10, activation="softmax"),
        ]
    )


@pytest.mark.training
@pytest.mark.parametrize("bias", [False, True])
def test_a_trained_normalization_tells_wrong_scales(bias: bool) -> None:
    keras.start(0)
    model, data = network(bias=bias), open_source("digits").load()
    assert data.training is not None
    x = data.preprocessing(data.training.inputs["x"])
    untrained = dataset(x * 255)
    assert not lint_for(model, untrained, seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, data.training.outputs["y"], epochs=2, verbose=0)
    before = model.get_weights()
    assert not lint_for(model, data, seed=0)
    assert not lint_for(model, dataset(x * 2 - 1), seed=0)
    for factor in (255, 1 / 255):
        (finding,) = lint_for(model, dataset(x * factor), seed=0)
        assert finding.code == "D03"
        assert "batch_normalization" in finding.message
    assert all(map(np.array_equal, before, model.get_weights()))


# Splits


def test_test_samples_in_training_are_found() -> None:
    x, other = good(300), good(100, seed=1)
    assert not lint_splits(dataset(x, x_test=other))
    almost = x[:100].copy()
    almost[:, 3, 3] += 1e-3
    assert not lint_splits(dataset(x, x_test=almost))
    (finding,) = lint_splits(dataset(x, x_test=np.concatenate([other, x[:40]])))
    assert finding.code == "D07"
    assert "40 of 140" in finding.message
    assert not lint_splits(dataset(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_a_test_split_scaled_otherwise_is_found(bad: float | None) -> None:
    training, test = good(), good(seed=1)
    if bad is not None:
        training[3, 3] = test[3, 3] = bad
    assert not lint_splits(dataset(training, x_test=test))
    (finding,) = lint_splits(dataset(training, x_test=test * 255))
    assert finding.code == "D03"
    assert "x for the test" in finding.message
    assert not lint_splits(dataset(training * np.nan, x_test=test))


def test_samples_that_differ_between_the_compared_values_are_told_apart() -> None:
    x = np.random.default_rng(0).random((50, 1000), np.float32)
    y = x.copy()
    y[:, 1] = 0
    assert not lint_splits(dataset(x, x_test=y))
