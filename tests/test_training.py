"""The training loop: losses derived, runs repeated and resumed, divergence caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import accuracy, given

from edgepack import keras
from edgepack.data.dataset import Dataset, Split
from edgepack.errors import DataError, RecipeError, StepError
from edgepack.progress import Progress
from edgepack.steps.finetune import Finetune
from edgepack.training import checkpoint
from edgepack.training.loop import is_over, order, rate
from edgepack.training.objective import choose_loss, derive_loss

CLASSES = np.arange(12) % 3
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
BINARY = CLASSES % 2
REAL = np.linspace(0, 1, 36, dtype=np.float32).reshape(12, 3)


@pytest.mark.parametrize(
    ("activation", "shape", "labels", "expected"),
    [
        ("softmax", (3,), CLASSES, "sparse_categorical_crossentropy"),
        ("softmax", (3,), CLASSES[:, None], "sparse_categorical_crossentropy"),
        ("linear", (3,), CLASSES, "sparse_categorical_crossentropy from logits"),
        ("softmax", (3,), ONE_HOT, "categorical_crossentropy"),
        ("linear", (3,), ONE_HOT, "categorical_crossentropy from logits"),
        ("softmax", (3,), ONE_HOT * 0.9 + 0.1 / 3, "categorical_crossentropy"),
        ("sigmoid", (1,), BINARY, "binary_crossentropy"),
        ("sigmoid", (1,), BINARY[:, None], "binary_crossentropy"),
        ("linear", (1,), BINARY, "binary_crossentropy from logits"),
        ("sigmoid", (3,), ONE_HOT, "binary_crossentropy"),
        ("linear", (1,), REAL[:, 0], "mse"),
        ("linear", (3,), REAL, "mse"),
        ("relu", (3,), REAL, "mse"),
        ("softmax", (4, 3), np.zeros((12, 4), int), "sparse_categorical_crossentropy"),
    ],
)
def test_the_loss_follows_from_activation_and_labels(
    activation: str, shape: tuple[int, ...], labels: Any, expected: str
) -> None:
    assert str(choose_loss("y", activation, shape, labels)) == expected


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit output 'y'"):
        choose_loss("y", "softmax", (3,), REAL[:, :2])


def two_heads() -> Any:
    layers = keras.tf_keras().layers
    image = layers.Input((8, 8, 1), name="image")
    features = layers.Flatten()(image)
    digit = layers.Activation("softmax", name="digit")(layers.Dense(10)(features))
    parity = layers.Dense(1, name="parity")(features)
    return keras.tf_keras().Model(image, [digit, parity])


def with_parity(digits: Dataset) -> Dataset:
    def both(split: Split | None) -> Split:
        assert split is not None
        labels = split.outputs["y"]
        return Split({"image": split.inputs["x"]}, {"parity": labels % 2, "digit": labels})

    return replace(digits, training=both(digits.training), validation=both(digits.validation))


def test_each_output_has_its_own_loss(digits: Dataset) -> None:
    found = derive_loss(two_heads(), with_parity(digits))
    assert str(found) == (
        "digit: sparse_categorical_crossentropy, parity: binary_crossentropy from logits"
    )


def test_a_named_loss_wins(digits: Dataset) -> None:
    model = two_heads()
    assert "digit: mae" in str(derive_loss(model, with_parity(digits), "mae"))
    with pytest.raises(RecipeError, match="no loss 'mea'"):
        derive_loss(model, with_parity(digits), "mea")


def test_data_without_labels_is_refused(digits: Dataset) -> None:
    assert digits.training is not None
    bare = replace(digits, training=Split(digits.training.inputs))
    with pytest.raises(DataError, match="no labels"):
        derive_loss(two_heads(), bare)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([], 1, False),
        ([1.0], 1, False),
        ([1.0, 0.9, 0.8], 1, False),
        ([1.0, 0.9, 0.95], 1, True),
        ([1.0, 0.9, 0.95], 2, False),
        ([1.0, 0.9, 0.95, 0.91], 2, True),
        ([1.0, 2.0, 3.0], 0, False),
        ([float("nan")], 1, False),
    ],
)
def test_early_stopping_is_decided_by_the_history(
    losses: list[float], patience: int, expected: bool
) -> None:
    assert is_over(losses, patience) is expected


def test_each_epoch_has_an_order_of_its_own() -> None:
    first, second = order(50, 7, 0), order(50, 7, 1)
    assert sorted(first) == list(range(50))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, order(50, 7, 0))
    assert not np.array_equal(first, order(50, 8, 0))


def small_network() -> Any:
    keras.start(0)
    layers = keras.tf_keras().layers
    stack = [
        layers.Input((8, 8, 1), name="image"),
        *(layers.Conv2D(4, 3), layers.BatchNormalization(momentum=0.9), layers.ReLU()),
        *(layers.Flatten(), layers.Dropout(0.2), layers.Dense(10, name="scores")),
    ]
    return keras.tf_keras().Sequential(stack)


STEP = Finetune(epochs=3, learning_rate=5e-3, batch_size=128)


class KilledError(Exception):
    """Stands in for the end of the process."""


def kill_at(note: str) -> Any:
    def report(progress: Progress) -> None:
        if progress.note.startswith(note):
            raise KilledError

    return report


@pytest.mark.training
def test_training_repeats_and_resumes_to_the_last_bit(digits: Dataset, tmp_path: Path) -> None:
    straight = STEP.apply(small_network(), given(digits)).get_weights()
    resumed = tmp_path / "resumed"
    with pytest.raises(KilledError):
        STEP.apply(small_network(), given(digits, checkpoints=resumed, report=kill_at("epoch 3")))
    seen: list[Progress] = []
    model = STEP.apply(small_network(), given(digits, checkpoints=resumed, report=seen.append))
    assert seen[0].note.startswith("epoch 3/3")
    assert (seen[-1].done, seen[-1].total) == (27, 27)
    for a, b in zip(straight, model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert accuracy(model, digits) > 0.5


@pytest.mark.training
def test_several_outputs_are_trained_together(digits: Dataset) -> None:
    keras.start(0)
    model = two_heads()
    before = model.get_weights()
    STEP.apply(model, given(with_parity(digits)))
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved)


@pytest.mark.training
def test_it_stops_when_validation_gets_no_better(digits: Dataset) -> None:
    step = replace(STEP, epochs=50, patience=1, learning_rate=0.5)
    seen: list[Progress] = []
    step.apply(small_network(), given(digits, report=seen.append))
    assert seen[-1].done < seen[-1].total


def test_divergence_is_an_error_with_the_way_out(digits: Dataset, tmp_path: Path) -> None:
    layers = keras.tf_keras().layers
    huge = layers.Dense(10, kernel_initializer=keras.tf_keras().initializers.Constant(1e38))
    stack = [layers.Input((8, 8, 1)), layers.Flatten(), huge, layers.Rescaling(1e30)]
    with pytest.raises(StepError, match=r"finetune diverged: .* at epoch 1, batch 1") as caught:
        STEP.apply(keras.tf_keras().Sequential(stack), given(digits, checkpoints=tmp_path))
    assert caught.value.hint == "try --set finetune.learning_rate=0.0005"
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_comes_back_and_a_broken_one_is_ignored(tmp_path: Path) -> None:
    tf = keras.tensorflow()
    written = [tf.Variable([1.0, 2.0]), tf.Variable(3)]
    checkpoint.write(tmp_path, written, [(0.5, 0.6)])
    found = [tf.Variable([0.0, 0.0]), tf.Variable(0)]
    assert checkpoint.restore(tmp_path, found) == [(0.5, 0.6)]
    assert found[0].numpy().tolist() == [1.0, 2.0]
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.NAME]
    whole = (tmp_path / checkpoint.NAME).read_bytes()
    (tmp_path / checkpoint.NAME).write_bytes(whole[: len(whole) // 2])
    assert checkpoint.restore(tmp_path, found) == []
    assert checkpoint.restore(None, found) == []


def test_the_learning_rate_falls_to_zero_or_stays() -> None:
    step = Finetune(epochs=4, learning_rate=0.1)
    assert [rate(step, done) for done in (0, 2, 4)] == pytest.approx([0.1, 0.05, 0.0])
    assert rate(Finetune(epochs=4, learning_rate=0.1, decay="none"), 3) == 0.1
