"""Adapters: few values learn, zeros stay, and what is merged is what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import accuracy, given

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import ModelError, RecipeError, StepError
from edgepack.network.kernels import kernels
from edgepack.recipe import make_recipe
from edgepack.step import KNOWN
from edgepack.steps.lora import Lora
from edgepack.steps.prune import Prune
from edgepack.target import read_target
from edgepack.training import adapter_file, adapting
from edgepack.training.adapter import Adapter, Layer, Update, digest, pack_mask, piece_of, twins

SPARSE = frozenset({"sparse"})
DATA = frozenset({"training", "labels", "calibration"}) | KNOWN


@pytest.mark.training
def test_adapters_recover_what_pruning_lost_and_keep_its_zeros(
    trained: Any, digits: Dataset
) -> None:
    pruned = Prune(epochs=0, sparsity=0.7).apply(trained, given())
    before = accuracy(pruned, digits)
    zeros = [k.variable.numpy() == 0 for k in kernels(pruned)]
    facts: dict[str, Any] = {}
    remarks: list[str] = []
    handed = given(digits, properties=SPARSE, record=facts.__setitem__, remark=remarks.append)
    step = Lora(epochs=4, batch_size=64)
    adapted = step.apply(pruned, handed)
    assert accuracy(adapted, digits) > before + 0.1
    for kernel, mask in zip(kernels(adapted), zeros, strict=True):
        assert np.array_equal(kernel.variable.numpy() == 0, mask)
    # A and B of rank 2 of four kernels, factors and offsets of 176 channels, ten biases.
    ranks = 2 * (9 + 16 + 16 + 32 + 32 + 48 + 48 + 10)
    assert facts["trained"]["parameters"] == ranks + 2 * (2 * 16 + 2 * 32 + 48) + 10
    assert remarks == ["without an update: depthwise_0, depthwise_1"]
    assert [type(x).__name__ for x in adapted.layers] == [type(x).__name__ for x in trained.layers]


@pytest.mark.parametrize(
    ("settings", "learning"),
    [
        ({}, {"a", "b", "bias", "gamma", "beta"}),
        ({"biases": False}, {"a", "b", "gamma", "beta"}),
        ({"normalization": False}, {"a", "b", "bias"}),
        ({"normalization": False, "biases": False, "head": True}, {"a", "b", "kernel", "bias"}),
    ],
)
def test_only_what_is_chosen_learns(
    trained: Any, digits: Dataset, settings: dict[str, Any], learning: set[str]
) -> None:
    tf = keras.tensorflow()
    made = adapting.attach(trained, Lora(**settings)._choice(trained, given()), 0)
    assert digits.test is not None
    (images,) = digits.feed(digits.test, ["image"]).values()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(made(images[:8], training=True)))
    variables = made.trainable_variables
    pairs = zip(tape.gradient(loss, variables), variables, strict=True)
    words = {v.name.split("/")[-1].split(":")[0] for g, v in pairs if g is not None}
    assert words == learning
    learnt = [v for v in variables if v.name.split("/")[-1].split(":")[0] in learning]
    if "head" not in settings:
        assert adapting.trained_values(made) == sum(v.shape.num_elements() for v in learnt)


def test_the_head_can_be_trained_whole(trained: Any) -> None:
    choice = Lora(head=True)._choice(trained, given())
    assert "scores" in choice.whole
    assert "scores" not in choice.adapted


@pytest.mark.training
def test_the_update_has_its_rank_and_repeats(trained_file: Path, digits: Dataset) -> None:
    made = []
    for _ in range(2):
        keras.start(0)
        model = keras.read(trained_file)
        base = model.get_layer("pointwise_1").kernel.numpy().reshape(32, 48)
        step = Lora(epochs=1, batch_size=256, rank=3, normalization=False)
        adapted = step.apply(model, given(digits, seed=5))
        made.append(keras.dump(adapted))
        update = adapted.get_layer("pointwise_1").kernel.numpy().reshape(32, 48) - base
        assert np.linalg.matrix_rank(update, tol=1e-5) == 3
    assert made[0] == made[1]


def test_a_penalty_does_not_move_frozen_weights(digits: Dataset) -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    stack = [layers.Input((8, 8, 1), name="image"), layers.Flatten()]
    stack += [layers.Dense(10, kernel_regularizer="l2", name=name) for name in ("first", "scores")]
    model = keras.tf_keras().Sequential(stack)
    before = model.get_layer("first").get_weights()
    adapted = Lora(epochs=1, skip="first", batch_size=512).apply(model, given(digits))
    kernel, bias = adapted.get_layer("first").get_weights()
    assert np.array_equal(kernel, before[0])
    assert not np.array_equal(bias, before[1])
    assert adapted.get_layer("first").kernel_regularizer is not None


def test_a_model_that_no_update_pays_for_is_refused(trained: Any, digits: Dataset) -> None:
    with pytest.raises(StepError, match="no layer for which an update of rank 64 pays"):
        Lora(rank=64).apply(trained, given(digits))


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"lora\.skip"):
        Lora(skip="(").check()


@pytest.mark.parametrize("before", ["cluster", "binarize", "ternarize"])
def test_shared_values_are_not_lost_in_silence(before: str) -> None:
    recipe = make_recipe("x", {"steps": [{"step": w} for w in (before, "lora", "convert")]})
    with pytest.raises(RecipeError, match="step lora would lose"):
        recipe.check("keras", DATA, read_target("rpi4"))


# Adapters and their files


def kernel(seed: int = 0) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(seed).normal(size=(3, 3, 4, 6)).astype(np.float32)
    values[0] = 0
    return values


def adapter() -> Adapter:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=s).astype(np.float32) for s in ((36, 2), (2, 6)))
    values = kernel()
    update = Update(a, b, 0.5, pack_mask(values))
    bias = np.arange(6, dtype=np.float32)
    pieces = (piece_of("kernel", values, update), piece_of("bias", bias, bias + 1))
    whole = piece_of("gamma", bias, bias * 2), piece_of("beta", bias + 3, None)
    return Adapter((Layer("conv", pieces), Layer("norm", whole)))


def test_an_update_is_a_masked_product() -> None:
    piece = adapter().layers[0].pieces[0]
    assert isinstance(piece.change, Update)
    product = 0.5 * (piece.change.a @ piece.change.b).reshape(3, 3, 4, 6)
    expected = kernel() + product * (kernel() != 0)
    assert np.allclose(piece.apply(kernel()), expected, atol=1e-6)
    assert not piece.apply(kernel())[0].any()
    assert (digest(kernel()), digest(piece.apply(kernel()))) == (piece.before, piece.after)


def test_a_file_gives_back_the_adapter(tmp_path: Path) -> None:
    path = tmp_path / "adapter.npz"
    path.write_bytes(adapter_file.dump(adapter()))
    assert adapter_file.dump(adapter_file.read(path)) == path.read_bytes()
    assert adapter_file.read(path).values == 36 * 2 + 2 * 6 + 6 + 6


def test_layers_that_nothing_tells_apart_are_named() -> None:
    zeros = np.zeros(3, np.float32)
    one, two, same = (piece_of("bias", zeros, zeros + i) for i in (1, 2, 1))
    layers = [Layer(n, (p,)) for n, p in (("a", one), ("b", two), ("c", same))]
    assert twins(Adapter(tuple(layers))) == ["a", "b"]
    assert twins(Adapter((layers[0], layers[2]))) == []


def tampered(change: Any) -> bytes:
    """The bytes of an adapter whose arrays were changed."""
    import io
    import json

    with np.load(io.BytesIO(adapter_file.dump(adapter()))) as file:
        arrays = dict(file)
    told = json.loads(arrays["header"].tobytes())
    change(told, arrays)
    if "raw" not in told:
        arrays["header"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    found = io.BytesIO()
    (np.savez_compressed if told.get("packed") else np.savez)(found, **arrays)
    return found.getvalue()


def weight(told: Any, **facts: Any) -> None:
    told["layers"][0]["weights"][0].update(facts)


HOSTILE = {
    "another format": lambda told, arrays: told.update(format="x"),
    "no layers": lambda told, arrays: told.pop("layers"),
    "layers of another kind": lambda told, arrays: told.update(layers=[7]),
    "a layer without weights": lambda told, arrays: told["layers"][0].update(weights=[]),
    "a huge shape": lambda told, arrays: weight(told, shape=[1 << 40, 4]),
    "a negative shape": lambda told, arrays: weight(told, shape=[-3, -3, 4, 6]),
    "another shape": lambda told, arrays: weight(told, shape=[3, 3, 4, 7]),
    "no digest": lambda told, arrays: weight(told, sha256="../../etc"),
    "a huge rank": lambda told, arrays: weight(told, rank=1 << 40),
    "no rank": lambda told, arrays: weight(told, rank=0),
    "a true rank": lambda told, arrays: weight(told, rank=True),
    "an endless scale": lambda told, arrays: weight(told, scale=float("inf")),
    "a scale in words": lambda told, arrays: weight(told, scale="much"),
    "numbers that are none": lambda told, arrays: arrays["numbers"].fill(np.nan),
    "too many numbers": lambda told, arrays: arrays.update(numbers=np.zeros(999, np.float32)),
    "too few masks": lambda told, arrays: arrays.update(masks=np.zeros(1, np.uint8)),
    "doubles": lambda told, arrays: arrays.update(numbers=arrays["numbers"].astype(float)),
    "objects": lambda told, arrays: arrays.update(numbers=np.array([{}], object)),
    "a matrix": lambda told, arrays: arrays.update(masks=arrays["masks"][None]),
    "compressed": lambda told, arrays: told.update(packed=True),
    "a header that is no JSON": lambda told, arrays: (
        told.update(raw=True),
        arrays.update(header=np.frombuffer(b"{" * 50_000, np.uint8)),
    ),
    "no masks": lambda told, arrays: arrays.pop("masks"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_was_made_to_do_harm_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "adapter.npz"
    path.write_bytes(tampered(HOSTILE[name]))
    with pytest.raises(ModelError, match="no adapter, or a damaged one") as caught:
        adapter_file.read(path)
    assert "lora.apart" in caught.value.hint


def test_a_file_that_is_cut_short_or_none_is_refused(tmp_path: Path) -> None:
    whole, path = adapter_file.dump(adapter()), tmp_path / "adapter.npz"
    for part in (b"", b"PK", whole[:100], whole[: len(whole) // 2], whole[:-1], whole[60:]):
        path.write_bytes(part)
        with pytest.raises(ModelError):
            adapter_file.read(path)
    with pytest.raises(ModelError, match="cannot read"):
        adapter_file.read(tmp_path / "none.npz")


def test_an_adapter_that_makes_something_else_than_it_tells_is_refused() -> None:
    piece = adapter().layers[0].pieces[0]
    with pytest.raises(ModelError, match="something else"):
        replace(piece, after="0" * 64).apply(kernel())


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    whole, path = bytearray(adapter_file.dump(adapter())), tmp_path / "adapter.npz"
    at = bytes(whole).index(adapter().layers[0].pieces[0].change.a.tobytes())  # type: ignore[union-attr]
    whole[at + 4] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="CRC"):
        adapter_file.read(path)
