"""Distillation: what a student learns, where it comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_zoo import LAYERS
from samples import accuracy, given, read_model, separable_network
from tiny import CommandLine

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import ModelError, RecipeError, StepError
from edgepack.network.bridge import to_flat
from edgepack.network.ends import align, rename
from edgepack.network.kernels import kernels, parameters
from edgepack.recipe import make_recipe
from edgepack.step import KNOWN
from edgepack.steps.distill import Distill
from edgepack.steps.prune import Prune
from edgepack.surgery.blocks import droppable, shorten
from edgepack.surgery.narrowing import narrow, scaled, selected
from edgepack.target import read_target
from edgepack.training import distillation
from edgepack.training.distillation import binary_distance, categorical_distance

DATA = frozenset({"training", "labels", "calibration"}) | KNOWN
SPARSE = frozenset({"sparse"})


# What is learnt


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_classes_differ_by_the_divergence_of_softened_outputs(temperature: float) -> None:
    rng = np.random.default_rng(0)
    t, s = rng.normal(size=(2, 5, 4))
    p, q = softmax(t / temperature), softmax(s / temperature)
    expected = np.mean(np.sum(p * np.log(p / q), -1)) * temperature**2
    assert float(categorical_distance(t, s, temperature)) == pytest.approx(expected)
    assert float(categorical_distance(t, t + 7, temperature)) == pytest.approx(0, abs=1e-9)


def test_yes_and_no_differ_by_the_divergence_of_each() -> None:
    t, s = np.random.default_rng(1).normal(size=(2, 5, 3))
    p, q = (1 / (1 + np.exp(-z / 2)) for z in (t, s))
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))) * 4
    assert float(binary_distance(t, s, 2.0)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("teacher", "student", "loss", "apart"),
    [
        ("softmax", "softmax", "", 0.0),
        ("softmax", "linear", "", 0.0),
        ("linear", "softmax", "sparse_categorical_crossentropy", 0.0),
        ("linear", "linear", "categorical_crossentropy", 0.0),
        ("sigmoid", "linear", "binary_crossentropy", 0.0),
        ("sigmoid", "sigmoid", "", 0.0),
        ("linear", "linear", "binary_crossentropy", 0.0),
        ("linear", "linear", "mse", 0.0),
        ("linear", "linear", "", 0.0),
    ],
)
def test_outputs_that_mean_the_same_do_not_differ(
    teacher: str, student: str, loss: str, apart: float
) -> None:
    logits = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    made = {"softmax": softmax(logits), "sigmoid": 1 / (1 + np.exp(-logits)), "linear": logits}
    distance = distillation._distance(teacher, student, loss, 2.0)
    assert float(distance(made[teacher], made[student])) == pytest.approx(apart, abs=1e-5)
    assert float(distance(made[teacher], made[student][::-1])) > 0.01


def test_a_sure_teacher_gives_finite_gradients() -> None:
    tf = keras.tensorflow()
    z = tf.Variable([[200.0, -200.0, 0.0]])
    distance = distillation._distance("softmax", "softmax", "", 1.0)
    with tf.GradientTape() as tape:
        loss = distance(tf.constant([[0.0, 1.0, 0.0]]), tf.nn.softmax(z))
    assert np.isfinite(loss.numpy())
    assert np.isfinite(tape.gradient(loss, z).numpy()).all()


def test_features_are_compared_relative_to_the_teachers() -> None:
    t = np.full((2, 3), 10.0, np.float32)
    assert float(distillation.feature_distance(t, t * 0.9)) == pytest.approx(0.01, rel=1e-3)


def test_layers_are_paired_before_each_downsampling() -> None:
    teacher = separable_network()
    student = narrow(teacher, 0.5, 8)
    pairs = distillation.paired(teacher, student)
    assert [(t.name.split("/")[0], s.name.split("/")[0]) for t, s in pairs] == [
        ("stem_relu", "stem_relu"),
        ("pointwise_1_relu", "pointwise_1_relu"),
    ]
    learner = distillation.with_features(student, pairs)
    assert [tuple(t.shape[1:]) for t in learner.outputs] == [(10,), (8, 8, 16), (4, 4, 48)]
    assert parameters(learner) == parameters(student) + 8 * 16 + 16 + 24 * 48 + 48


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stem:pool", r"shapes \[8, 8, 16\] and \[48\]"),
        ("stemm:stem", "teacher has no layer 'stemm'"),
        ("stem:stemm", "student has no layer 'stemm'"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(word: str, reason: str) -> None:
    model = separable_network()
    with pytest.raises(StepError, match=reason):
        distillation.named_pairs(model, model, [word])


# Students that are derived


@pytest.mark.parametrize(
    ("size", "width", "multiple", "expected"),
    [(64, 0.5, 8, 32), (32, 0.45, 8, 16), (20, 0.5, 8, 8), (8, 0.1, 8, 8), (6, 0.5, 8, 3)],
)
def test_channels_are_rounded_to_a_multiple(
    size: int, width: float, multiple: int, expected: int
) -> None:
    assert scaled(size, width, multiple) == expected


def test_weights_are_chosen_evenly() -> None:
    values = np.arange(35).reshape(5, 7)
    assert selected(values, (3, 3)).tolist() == [[0, 3, 6], [14, 17, 20], [28, 31, 34]]
    assert np.array_equal(selected(values, (5, 7)), values)


def test_a_narrow_student_takes_over_weights_or_starts_anew() -> None:
    model = separable_network()
    chosen, new = (narrow(model, 0.5, 8, select=select) for select in (True, False))
    kernel = model.get_layer("pointwise_0").kernel.numpy()
    assert np.array_equal(
        chosen.get_layer("pointwise_0").kernel.numpy(), selected(kernel, (1, 1, 8, 16))
    )
    assert not np.isin(new.get_layer("pointwise_0").kernel.numpy(), kernel).any()
    assert (chosen.output_shape, chosen.output_names) == ((None, 10), ["scores"])


@pytest.mark.parametrize("name", ["sequential", "nested", "siamese", "several"])
def test_models_of_many_kinds_get_narrower(name: str) -> None:
    model = to_flat(LAYERS[name](keras.tf_keras()))
    made = narrow(model, 0.5, 1)
    assert parameters(made) < parameters(model)
    assert made.output_shape == model.output_shape


def test_what_cannot_get_narrower_is_refused() -> None:
    with pytest.raises(StepError, match="no layer gets narrower"):
        narrow(to_flat(LAYERS["dense"](keras.tf_keras())), 0.5, 1)
    layers = keras.tf_keras().layers
    image = layers.Input((4, 4, 6))
    x = layers.Add()([image, layers.Conv2D(6, 1)(image)])
    with pytest.raises(StepError, match=r"cannot be made 0\.5 times as wide"):
        narrow(keras.tf_keras().Model(image, layers.Dense(2)(x)), 0.5, 1)


def residual_network(blocks: int = 3) -> Any:
    """Residual blocks of one width, then repeated plain layers."""
    keras.start(0)
    layers = keras.tf_keras().layers
    x = image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    for i in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", name=f"first_{i}")(x)
        y = layers.BatchNormalization(name=f"norm_{i}")(y)
        x = layers.ReLU(name=f"relu_{i}")(layers.Add(name=f"add_{i}")([x, y]))
    x = layers.Flatten()(x)
    for i in range(3):
        x = layers.Dense(12, "relu", name=f"dense_{i}")(x)
    return keras.tf_keras().Model(image, layers.Dense(10, name="scores")(x))


def test_blocks_that_keep_their_shape_are_found_and_dropped() -> None:
    model = residual_network()
    found = [block.layers for block in droppable(model)]
    assert found == [
        *((f"first_{i}", f"norm_{i}", f"add_{i}", f"relu_{i}") for i in range(3)),
        ("dense_1",),
        ("dense_2",),
    ]
    short = shorten(model, 0.0)
    names = [layer.name for layer in short.layers if layer.weights]
    assert names == ["stem", "dense_0", "scores"]
    kept = shorten(model, 0.6)
    assert len(droppable(kept)) == 3
    assert np.array_equal(kept.get_layer("stem").kernel, model.get_layer("stem").kernel)


def test_a_block_with_a_layer_that_is_shared_stays() -> None:
    layers = keras.tf_keras().layers
    inputs = x = layers.Input((6,))
    shared = layers.Dense(6)
    for _ in range(3):
        x = shared(x)
    model = keras.tf_keras().Model(inputs, layers.Dense(2)(x))
    assert droppable(model) == []
    with pytest.raises(StepError, match="no block that can be left out"):
        shorten(model, 0.5)


# Ends


def two_ends(*, swapped: bool = False, width: int = 3) -> Any:
    layers = keras.tf_keras().layers
    a, b = layers.Input((4,), name="a"), layers.Input((width,), name="b")
    y, z = layers.Dense(2, name="y")(a), layers.Dense(5, name="z")(b)
    ends = ([b, a], [z, y]) if swapped else ([a, b], [y, z])
    return keras.tf_keras().Model(*ends)


def test_ends_are_matched_by_name_and_else_by_order() -> None:
    found = align(two_ends(swapped=True), two_ends(), "teacher")
    assert (found.input_names, found.output_names) == (["a", "b"], ["y", "z"])
    layers = keras.tf_keras().layers
    left, right = layers.Input((4,)), layers.Input((None,))
    outputs = [layers.Dense(2)(left), layers.Dense(5, name="a")(left + 1)]
    other = keras.tf_keras().Model([left, right], outputs)
    named = rename(other, two_ends(), "student")
    assert (named.input_names, named.output_names) == (["a", "b"], ["y", "z"])
    x = [np.ones((1, n), np.float32) for n in (4, 3)]
    for one, two in zip(named(x), other(x), strict=True):
        assert np.array_equal(one, two)


def test_ends_of_other_shapes_are_refused_with_both() -> None:
    with pytest.raises(StepError, match=r"teacher has the inputs a \[4\], b \[7\].* b \[3\]"):
        align(two_ends(width=7), two_ends(), "teacher")
    with pytest.raises(StepError, match=r"student has the inputs image \[8, 8, 1\]"):
        rename(separable_network(), two_ends(), "student")


# The step


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, {"training", "labels", "teacher"}),
        ({"hard": 0.0}, {"training", "teacher"}),
        ({"teacher": "big.keras"}, {"training", "labels"}),
    ],
)
def test_it_needs_what_it_learns_from(settings: dict[str, Any], needed: set[str]) -> None:
    assert Distill(**settings).needs() == needed


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"features": ("stem",)}, "no pair of layers"),
        ({"features": ("auto", "a:b")}, "no pair of layers"),
        ({"student": "small.keras", "width": 0.5}, "distill.student names one"),
        ({"soft": 0.0, "hard": 0.0}, "nothing to learn"),
        ({"soft": 0.0, "hard": 0.0, "features": ("auto",), "feature": 0.0}, "nothing to learn"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(
    settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        Distill(**settings).check()


def test_a_new_student_after_structure_is_refused() -> None:
    rows = [{"step": "prune"}, {"step": "distill", "width": 0.5}, {"step": "convert"}]
    with pytest.raises(RecipeError, match="new student, which would not be sparse"):
        make_recipe("x", {"steps": rows}).check("keras", DATA, read_target("rpi4"))
    rows[1] = {"step": "distill"}
    make_recipe("x", {"steps": rows}).check("keras", DATA, read_target("rpi4"))
    with pytest.raises(StepError, match="would lose what the model has: sparse"):
        Distill(width=0.5).apply(separable_network(), given(properties=SPARSE))


def test_files_are_part_of_what_it_depends_on(tmp_path: Path) -> None:
    teacher, code = tmp_path / "teacher.h5", tmp_path / "mine.py"
    teacher.write_bytes(b"1")
    code.write_text("x = 1\n")
    step = Distill(teacher=str(teacher), student=f"{code}:make")
    first = step.outside()
    code.write_text("x = 2\n")
    second = step.outside()
    teacher.write_bytes(b"2")
    assert len({first, second, step.outside()}) == 3
    assert Distill().outside() == ""
    with pytest.raises(ModelError, match="no file"):
        Distill(teacher=str(tmp_path / "none.h5")).outside()


@pytest.mark.training
def test_a_pruned_model_recovers_from_what_it_was(trained_file: Path, digits: Dataset) -> None:
    keras.start(0)
    pruned = Prune(epochs=0, sparsity=0.6).apply(keras.read(trained_file), given())
    zeros = [kernel.variable.numpy() == 0 for kernel in kernels(pruned)]
    before = accuracy(pruned, digits)
    facts: dict[str, Any] = {}
    handed = given(
        digits,
        properties=SPARSE,
        record=facts.__setitem__,
        read=lambda file: keras.read(trained_file),
    )
    step = Distill(epochs=3, batch_size=64, hard=0.0, features=("auto",))
    made = step.apply(pruned, handed)
    assert accuracy(made, digits) > max(0.7, before + 0.2)
    for kernel, mask in zip(kernels(made), zeros, strict=True):
        assert np.array_equal(kernel.variable.numpy() == 0, mask)
    assert facts["teacher"] == facts["student"] == {"parameters": parameters(pruned)}
    assert set(facts["losses"]) == {"training", "validation"}
    assert [layer.name for layer in made.layers] == [layer.name for layer in pruned.layers]


RECURRENT = """
import keras

def make(inputs, outputs):
    (shape,), (classes,) = inputs.values(), outputs.values()
    layers = keras.layers
    image = keras.Input(shape)
    x = layers.Reshape(shape[:2])(image)
    x = layers.SimpleRNN(12, unroll=True)(x)
    return keras.Model(image, layers.Dense(classes[0])(x))
"""


@pytest.mark.training
def test_a_recurrent_student_learns_from_a_convolutional_teacher_and_repeats(
    trained_file: Path, digits: Dataset, tmp_path: Path
) -> None:
    code = tmp_path / "mine.py"
    code.write_text(RECURRENT)
    step = Distill(student=f"{code}:make", epochs=1, batch_size=64, learning_rate=0.02)
    made = []
    for warm in (False, True):
        keras.start(3)
        if warm:  # whatever was drawn before must not matter
            separable_network()
        model = keras.read(trained_file)
        found = step.apply(model, given(digits, read=lambda file: keras.read(trained_file)))
        made.append(keras.dump(found))
    assert made[0] == made[1]
    assert (found.input_names, found.output_names) == (["image"], ["scores"])
    assert accuracy(found, digits) > 0.15  # guessing gives 0.1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def make(inputs, outputs):\n    return 7\n", "gave a int, no Keras model"),
        ("def make(inputs, outputs):\n    raise ValueError('no')\n", "mine.py:2 failed"),
        ("def other(): pass\n", "no function 'make'"),
    ],
)
def test_a_function_that_makes_no_student_is_refused(
    text: str, reason: str, tmp_path: Path, digits: Dataset
) -> None:
    code = tmp_path / "mine.py"
    code.write_text(text)
    step = Distill(student=f"{code}:make")
    handed = given(digits, read=lambda file: separable_network())
    with pytest.raises(StepError, match=reason):
        step.apply(separable_network(), handed)


@pytest.mark.training
def test_a_build_distils_from_a_file_into_a_bundle(
    edgepack: CommandLine, tiny: Path, trained_file: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.h5"
    keras.start(0)
    keras.read(trained_file).save(teacher)
    words = ["--target", "linux-x86_64", "--data", "digits", "--recipe", "distill", "--out", "b"]
    words += ["--set", f"distill.teacher={teacher}", "--set", "distill.epochs=1"]
    words += ["--set", "distill.multiple=1"]
    ran = edgepack("build", tiny, *words, "--json")
    assert ran.code == 0, ran.err
    (step,) = (step for step in ran.json["steps"] if step["name"] == "distill")
    assert step["recorded"]["teacher"]["parameters"] == parameters(keras.read(trained_file))
    assert step["recorded"]["student"]["parameters"] < parameters(read_model(tiny))
    refused = edgepack("build", tiny, *words, "--set", "distill.teacher=none.h5")
    refused.refused(2, "no file none.h5")


def test_code_in_a_recipe_must_be_allowed(
    edgepack: CommandLine, tiny: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[[steps]]\nstep = "distill"\nstudent = "mine.py:make"\n')
    words = ("--target", "linux-x86_64", "--data", "digits", "--recipe", recipe)
    edgepack("build", tiny, *words).refused(2, "would run code", "--allow-code")
