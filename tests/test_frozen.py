"""Editing, pruning and clustering of a float .tflite itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import given, noise_for, separable_network

from edgepack import audit, keras
from edgepack.entry import Newcomer, enter
from edgepack.errors import ModelError, RecipeError, StepError
from edgepack.recipe import read_recipe
from edgepack.steps.cluster import Cluster
from edgepack.steps.convert import Convert
from edgepack.steps.prune import Prune
from edgepack.target import read_target
from edgepack.tflite import flatbuffer, flatbytes
from edgepack.tflite.counting import Place
from edgepack.tflite.interpreter import Interpreter

PRUNED = ("stem", "pointwise_0", "pointwise_1", "scores")
PROBE = np.random.default_rng(3).normal(size=(2, 8, 8, 1)).astype(np.float32)


def convert(model: Any, quantization: str = "float32") -> bytes:
    return Convert(quantization=quantization).apply(model, given(noise_for(model, 4)))


def plain_network() -> Any:
    """A convolution and a dense layer whose inputs are no multiple of a block."""
    keras.start(0)
    layers = keras.tf_keras().layers
    stack = [
        layers.Input((8, 8, 1), name="image"),
        layers.Conv2D(10, 3, name="stem"),
        layers.Conv2D(6, 3, name="middle"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(11, name="hidden"),
        layers.Dense(10, activation="softmax", name="scores"),
    ]
    return keras.tf_keras().Sequential(stack)


@pytest.fixture(scope="module")
def separable() -> bytes:
    keras.start(0)
    return convert(separable_network())


def values_of(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    return {w.name: w.values for w in flatbuffer.weights(flatbuffer.read_graph(data))}


def structures_of(data: bytes) -> dict[str, Any]:
    return {s.name: s for s in audit.structures(audit.audit("tflite", data))}


def run(data: bytes) -> np.ndarray[Any, Any]:
    return next(iter(Interpreter(data).run({"image": PROBE}).values()))


# Editing


def test_only_what_is_changed_changes(separable: bytes) -> None:
    def double(place: Place, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        return values * 2 if place.name == "scores" else None

    edited = flatbuffer.edit_weights(separable, double)
    before, after = values_of(separable), values_of(edited)
    assert np.array_equal(after.pop("scores"), before.pop("scores") * 2)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert flatbuffer.edit_weights(separable, double) == edited
    unchanged = flatbuffer.edit_weights(edited, lambda place, values: values)
    assert np.array_equal(run(unchanged), run(edited))
    assert not np.array_equal(run(edited), run(separable))


def test_weights_of_16_bits_stay_of_16_bits() -> None:
    data = convert(plain_network(), "float16")
    pruned = Prune(epochs=0, sparsity=0.5).apply(data, given())
    assert {v.dtype.name for v in values_of(pruned).values()} == {"float16"}
    assert all(s.zeros == pytest.approx(0.5, abs=0.02) for s in structures_of(pruned).values())


def test_bytes_that_two_layers_share_can_part() -> None:
    model = plain_network()
    model.get_layer("scores").set_weights([np.ones((11, 10)), np.zeros(10)])
    data = flatbuffer.strip(convert(model))
    shared = flatbytes.unpack(flatbytes.load(data))
    graph = shared.subgraphs[0]
    first, second = (int(o.inputs[1]) for o in graph.operators[:2])
    graph.tensors[second].shape = graph.tensors[first].shape
    graph.tensors[second].buffer = graph.tensors[first].buffer
    data = flatbytes.pack(shared)
    names = list(values_of(data))[:2]
    edited = flatbuffer.edit_weights(data, lambda p, v: v * 0 if p.name == names[0] else None)
    found = values_of(edited)
    assert not found[names[0]].any()
    assert np.array_equal(found[names[1]], values_of(data)[names[1]])
    both = flatbuffer.edit_weights(data, lambda p, v: v * 3)
    assert len(flatbytes.unpack(flatbytes.load(both)).buffers) == len(shared.buffers)
    assert np.array_equal(values_of(both)[names[1]], values_of(data)[names[1]] * 3)


def test_another_shape_is_refused(separable: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        flatbuffer.edit_weights(separable, lambda place, values: values[:1])


def test_what_is_no_flatbuffer_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no .tflite|not a .tflite"):
        Prune(epochs=0).apply(b"x" * 40, given())


# Pruning


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "block"])
def test_both_forms_get_the_same_zeros(pattern: str) -> None:
    step = Prune(epochs=0, sparsity=0.53, pattern=pattern, block=4)
    frozen = step.apply(convert(plain_network()), given())
    before = values_of(frozen)
    after = values_of(convert(step.apply(plain_network(), given())))
    assert before.keys() == after.keys() == {"stem", "middle", "hidden", "scores"}
    assert any((v == 0).any() for v in before.values())
    for name in before:
        assert np.array_equal(before[name], after[name]), name
        assert not np.signbit(before[name][before[name] == 0]).any(), name


def test_depthwise_and_skipped_layers_are_left_alone(separable: bytes) -> None:
    found = structures_of(Prune(epochs=0, sparsity=0.6, skip="st.m").apply(separable, given()))
    left = {name for name, structure in found.items() if structure.zeros == 0}
    assert left == {"stem", "depthwise_0", "depthwise_1"}


def test_names_that_are_stripped_are_made_of_operators(separable: bytes) -> None:
    stripped = flatbuffer.strip(separable)
    found = structures_of(Prune(epochs=0, skip="conv_2d_0").apply(stripped, given()))
    assert found["conv_2d_0"].zeros == 0
    assert found["conv_2d_2"].zeros == pytest.approx(0.8, abs=0.01)


def test_zeros_that_are_there_stay(separable: bytes) -> None:
    once = Prune(epochs=0, sparsity=0.7).apply(separable, given())
    twice = Prune(epochs=0, sparsity=0.3).apply(once, given())
    assert np.array_equal(values_of(once)["scores"], values_of(twice)["scores"])


def test_a_flatbuffer_without_layers_for_the_pattern_is_refused(separable: bytes) -> None:
    with pytest.raises(StepError, match="no layer to prune with the pattern block"):
        Prune(epochs=0, pattern="block", skip="scores").apply(separable, given())


# Clustering


def test_both_forms_get_the_same_clusters() -> None:
    step = Cluster(epochs=0, clusters=16)
    frozen = values_of(step.apply(convert(plain_network()), given()))
    trained = values_of(convert(step.apply(plain_network(), given())))
    for name in frozen:
        assert np.allclose(frozen[name], trained[name], atol=1e-6), name
        assert len(np.unique(frozen[name])) <= 16


def test_zeros_stay_zero_through_clustering(separable: bytes) -> None:
    pruned = Prune(epochs=0, sparsity=0.5).apply(separable, given())
    clustered = Cluster(epochs=0, clusters=12).apply(pruned, given())
    for name in PRUNED:
        assert np.array_equal(values_of(pruned)[name] == 0, values_of(clustered)[name] == 0)
        assert structures_of(clustered)[name].unique_in_tensor <= 12
    assert np.array_equal(values_of(pruned)["depthwise_0"], values_of(clustered)["depthwise_0"])


def test_channels_share_by_themselves(separable: bytes) -> None:
    remarks: list[str] = []
    step = Cluster(epochs=0, clusters=12, scope="channel")
    found = structures_of(step.apply(separable, given(remark=remarks.append)))
    assert remarks == ["16 channels have fewer than 12 values and are left alone"]
    assert found["pointwise_1"].unique_in_channel == 12
    assert found["pointwise_1"].unique_in_tensor > 12


def test_too_many_clusters_are_refused() -> None:
    with pytest.raises(StepError, match="no layer of the model has 256 values"):
        Cluster(epochs=0, clusters=256).apply(
            convert(keras.tf_keras().Sequential([keras.tf_keras().layers.Dense(3, input_dim=4)])),
            given(),
        )


# Recipes


@pytest.mark.parametrize("step", [Prune(), Cluster()])
def test_a_flatbuffer_is_not_trained(step: Prune | Cluster) -> None:
    name = step.step_name()
    with pytest.raises(RecipeError, match=f"{name}.epochs is 2") as caught:
        step.check_form("tflite")
    assert f"--set {name}.epochs=0" in caught.value.hint
    step.check_form("keras")


def test_the_form_that_is_given_is_given_back() -> None:
    assert [Prune().result(form) for form in ("keras", "tflite")] == ["keras", "tflite"]


@pytest.mark.parametrize("form", ["keras", "tflite"])
def test_a_frozen_recipe_is_for_both_forms(form: str) -> None:
    whole = read_recipe("frozen-prune-cluster-int8")
    entered = enter(whole, Newcomer(form), named=True).recipe
    offered = frozenset({"training", "calibration"})
    entered.check(form, offered, read_target("linux-x86_64"))
    names = [step.step_name() for step in entered.steps]
    assert names[-4:] == ["prune", "cluster", "quantize", "strip"]
