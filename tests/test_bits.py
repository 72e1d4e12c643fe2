"""Weights of one and two bits: chosen, trained, told, and kept to the deployed model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import accuracy, given

from edgepack import audit, keras
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.kernels import kernels
from edgepack.network.outermost import outermost
from edgepack.steps.binarize import Binarize
from edgepack.steps.convert import Convert
from edgepack.steps.finetune import Finetune
from edgepack.steps.qat import Qat
from edgepack.steps.ternarize import Ternarize
from edgepack.training import low_bits
from edgepack.training.properties import WeightStructure
from edgepack.training.signs import packed_bytes

INNER = {"pointwise_0", "pointwise_1"}
DEPTHWISE = {"depthwise_0", "depthwise_1"}
ENDS = {"stem", "scores"}
ONCE = {"epochs": 0}


def structure_of(model: Any) -> dict[str, WeightStructure]:
    form = "tflite" if isinstance(model, bytes) else "keras"
    return {s.name.split("/")[0]: s for s in audit.structures(audit.audit(form, model))}


def signed(model: Any, word: str) -> set[str]:
    return {name for name, found in structure_of(model).items() if getattr(found, word)}


def kernel_of(values: Any) -> Any:
    layers = keras.tf_keras().layers
    dense = layers.Dense(values.shape[-1], use_bias=False)
    model = keras.tf_keras().Sequential([layers.Input((len(values),)), dense])
    model.set_weights([values])
    return kernels(model)[0]


VALUES = np.float32([[0.1, -2.0], [-0.3, 0.5], [0.2, 0.5], [0.6, -1.0]])


def test_binary_weights_are_signs_times_the_mean_magnitude() -> None:
    kernel = kernel_of(VALUES)
    found = low_bits.binary(kernel).compute(kernel.variable).numpy()
    np.testing.assert_allclose(found, np.sign(VALUES) * [0.3, 1.0], rtol=1e-6)


def test_ternary_weights_are_zero_under_the_threshold() -> None:
    kernel = kernel_of(VALUES)
    found = low_bits.ternary(kernel).compute(kernel.variable).numpy()
    np.testing.assert_allclose(found, [[0, -1.5], [-0.45, 0], [0, 0], [0.45, -1.5]], rtol=1e-6)


def test_learnt_ternary_weights_start_as_the_others() -> None:
    kernel = kernel_of(VALUES)
    learnt = low_bits.learnt_ternary(kernel)
    found = learnt.compute(kernel.variable, learnt.added["scale"])
    np.testing.assert_array_equal(found, low_bits.ternary(kernel).compute(kernel.variable))


@pytest.mark.parametrize("parametrize", [low_bits.binary, low_bits.ternary])
def test_the_gradient_goes_straight_through_where_weights_are_not_large(parametrize: Any) -> None:
    tf = keras.tensorflow()
    kernel = kernel_of(VALUES)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(3 * parametrize(kernel).compute(kernel.variable))
    gradient = tape.gradient(loss, kernel.variable)
    np.testing.assert_array_equal(gradient, 3 * (np.abs(VALUES) <= 1))


def test_first_and_last_layers_follow_from_the_graph() -> None:
    layers = keras.tf_keras().layers
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    x = layers.Dense(4, name="middle")(layers.ReLU()(layers.Dense(4, name="first_a")(a)))
    x = layers.Add()([x, layers.Dense(4, name="first_b")(b)])
    heads = [layers.Dense(2, name="last")(x), layers.Softmax()(layers.Dense(3, name="also")(x))]
    model = keras.tf_keras().Model([a, b], heads)
    assert outermost(model) == {"first_a", "first_b", "last", "also"}


def test_layers_inside_of_others_and_of_other_kinds_are_left_and_named() -> None:
    layers = keras.tf_keras().layers
    sound = layers.Input((6, 4))
    x = layers.Conv1D(4, 3, padding="same", name="first")(sound)
    x = layers.LSTM(4, return_sequences=True, name="memory")(layers.Conv1D(4, 1, name="taken")(x))
    x = layers.TimeDistributed(layers.Dense(4, name="inner"), name="outer")(x)
    model = keras.tf_keras().Model(sound, layers.Dense(2, name="last")(x))
    remarks: list[str] = []
    made = Binarize(**ONCE).apply(model, given(remark=remarks.append))
    assert signed(made, "binary") == {"taken"}
    assert "first, last (the first or the last); memory, outer (of a kind" in remarks[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, INNER),
        ({"layers": "pointwise_1"}, {"pointwise_1"}),
        ({"ends": True}, INNER | ENDS),
        ({"depthwise": True}, INNER | DEPTHWISE),
        ({"ends": True, "depthwise": True}, INNER | ENDS | DEPTHWISE),
    ],
)
@pytest.mark.parametrize(("kind", "word"), [(Binarize, "binary"), (Ternarize, "ternary")])
def test_layers_are_chosen(
    trained: Any, kind: Any, word: str, settings: dict[str, Any], expected: set[str]
) -> None:
    remarks: list[str] = []
    before = {kernel.name: kernel.variable.numpy() for kernel in kernels(trained)}
    made = kind(**ONCE, **settings).apply(trained, given(remark=remarks.append))
    assert signed(made, word) == expected
    for kernel in kernels(made):
        same = np.array_equal(kernel.variable, before[kernel.name])
        assert same is (kernel.layer.name not in expected)
    assert ("stem, scores (the first or the last)" in remarks[0]) is (
        settings in [{}, {"depthwise": True}]
    )


def test_what_packing_would_save_is_recorded(trained: Any) -> None:
    recorded: dict[str, Any] = {}
    remarks: list[str] = []
    handed = given(record=recorded.__setitem__, remark=remarks.append)
    total = sum(w.size for w in trained.get_weights())
    Binarize(**ONCE).apply(trained, handed)
    count = 16 * 32 + 32 * 48
    assert recorded["packing"] == {
        "bits": 1,
        "layers": ["pointwise_0", "pointwise_1"],
        "weights": count,
        "float_bytes": 4 * count,
        "packed_bytes": count // 8 + 4 * (32 + 48),
        "others_bytes": 4 * (total - count),
    }
    assert "where something packs them" in remarks[-1]
    assert packed_bytes(9, 3, 2) == 3 + 12


def test_a_model_without_such_layers_is_refused(trained: Any) -> None:
    with pytest.raises(StepError, match="first or the last") as caught:
        Binarize(**ONCE, layers="stem|scores").apply(trained, given())
    assert "binarize.ends" in caught.value.hint
    with pytest.raises(StepError, match="none"):
        Ternarize(**ONCE, layers="nothing").apply(trained, given())


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="no regular expression"):
        Binarize(layers="(").check()


def test_layers_that_have_few_bits_are_left_alone(trained: Any) -> None:
    remarks: list[str] = []
    once = Binarize(**ONCE, layers="pointwise_0").apply(trained, given())
    both = Ternarize(**ONCE).apply(once, given(remark=remarks.append))
    assert signed(both, "binary") == {"pointwise_0"}
    assert signed(both, "ternary") == {"pointwise_1"}
    assert "pointwise_0 (of few bits already)" in remarks[0]


def test_zeros_that_are_there_stay(trained: Any) -> None:
    layer = trained.get_layer("pointwise_1")
    values = layer.kernel.numpy()
    zeros = np.random.default_rng(0).random(values.shape) < 0.6
    layer.kernel.assign(np.where(zeros, 0, values))
    made = Ternarize(**ONCE).apply(trained, given(properties=frozenset({"sparse"})))
    assert np.all(made.get_layer("pointwise_1").kernel.numpy()[zeros] == 0)


@pytest.mark.training
def test_training_makes_up_for_lost_bits(trained: Any, digits: Dataset) -> None:
    at_once = Ternarize(**ONCE).apply(trained, given())
    step = Ternarize(epochs=2, batch_size=64, learning_rate=5e-3, scales="learnt")
    made = step.apply(trained, given(digits))
    assert accuracy(made, digits) > max(0.8, accuracy(at_once, digits))
    assert signed(made, "ternary") == INNER


@pytest.mark.training
def test_what_follows_keeps_them(trained: Any, digits: Dataset) -> None:
    step = Binarize(epochs=2, batch_size=64, learning_rate=5e-3)
    kept = given(digits, properties=frozenset({"binary"}))
    tuned = Finetune(epochs=1, batch_size=64).apply(step.apply(trained, given(digits)), kept)
    assert signed(tuned, "binary") == INNER
    rounded = Qat(epochs=1, batch_size=256).apply(tuned, kept)
    assert signed(rounded, "binary") == INNER
    deployed = Convert(quantization="int8").apply(rounded, kept)
    assert signed(deployed, "binary") == INNER
    assert accuracy(deployed, digits) > 0.75


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_conversion_keeps_two_values_a_channel(
    trained: Any, digits: Dataset, quantization: str
) -> None:
    made = Binarize(**ONCE).apply(trained, given())
    deployed = Convert(quantization=quantization).apply(made, given(digits))
    found = structure_of(deployed)
    assert {name for name, s in found.items() if s.binary} == INNER
    if quantization == "int8":
        assert found["pointwise_1"].unique_in_tensor == 2
