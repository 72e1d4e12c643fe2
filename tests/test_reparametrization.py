"""Layers that train with computed kernels: they start the same, learn, and are plain again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import given

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.network.kernels import kernels, parameters
from edgepack.steps.finetune import Finetune
from edgepack.training.loop import fit
from edgepack.training.reparametrization import Parametrization, learnt, reparametrize, strip

SIDE = (8, 8, 3)
WORDS = {
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "Dense": "kernel",
    "DepthwiseConv2D": "depthwise_kernel",
    "SeparableConv2D": "pointwise_kernel",
}


def doubled(word: str) -> Parametrization:
    """Computes with twice the layer's own weight."""
    return Parametrization(word, lambda own: 2 * own)


def one_layer(kind: str) -> Any:
    """A model of one layer without a bias, so that its output follows its kernel."""
    layers = keras.tf_keras().layers
    image = layers.Input(SIDE, name="image")
    size = () if kind == "DepthwiseConv2D" else (4,)
    options = {} if kind == "Dense" else {"kernel_size": 3}
    layer = getattr(layers, kind)(*size, use_bias=False, name="it", **options)
    return keras.tf_keras().Model(image, layer(image))


def ranks(kernel: Any, rank: int = 2) -> Parametrization:
    """The kernel frozen, with a product of two small matrices added to it, which starts at 0."""
    rows, columns = int(np.prod(kernel.shape[:-1])), kernel.shape[-1]
    down = np.random.default_rng(0).normal(size=(rows, rank)).astype(np.float32)
    tf = keras.tensorflow()

    def compute(own: Any, a: Any, b: Any) -> Any:
        return own + tf.reshape(a @ b, own.shape)

    added = {"a": down, "b": np.zeros((rank, columns), np.float32)}
    return Parametrization("kernel", compute, added, frozen=True)


@pytest.mark.parametrize("kind", WORDS)
def test_a_layer_computes_with_what_it_is_told_and_keeps_it(kind: str) -> None:
    model = one_layer(kind)
    samples = np.random.default_rng(0).normal(size=(2, *SIDE)).astype(np.float32)
    wrapped = reparametrize(model, {"it": doubled(WORDS[kind])})
    plain = strip(wrapped)
    np.testing.assert_array_equal(wrapped(samples), 2 * model(samples))
    np.testing.assert_array_equal(plain(samples), wrapped(samples))
    assert [type(layer).__name__ for layer in plain.layers] == ["InputLayer", kind]


def test_what_a_layer_computes_with_is_no_variable_of_its_own() -> None:
    model = one_layer("Conv2D")
    wrapped = reparametrize(model, {"it": doubled("kernel")})
    (kernel,) = kernels(wrapped)
    assert kernel.name == "it/kernel"
    assert kernel.layer.kernel is kernel.variable
    np.testing.assert_array_equal(kernel.variable, model.get_weights()[0])
    assert [id(v) for v in wrapped.trainable_variables] == [id(kernel.variable)]


def test_added_variables_are_trained_and_a_frozen_layer_is_not() -> None:
    model = one_layer("Conv2D")
    wrapped = reparametrize(model, {"it": ranks(model.get_layer("it").kernel)})
    assert [v.shape.as_list() for v in wrapped.trainable_variables] == [[27, 2], [2, 4]]
    assert parameters(wrapped) == parameters(model) + 27 * 2 + 2 * 4
    assert strip(wrapped).get_layer("it").trainable


def test_a_layer_that_does_not_train_stays_so() -> None:
    model = one_layer("Dense")
    model.get_layer("it").trainable = False
    wrapped = reparametrize(model, {"it": doubled("kernel")})
    assert not wrapped.trainable_variables
    assert not strip(wrapped).get_layer("it").trainable


def test_a_name_that_no_layer_has_is_refused() -> None:
    with pytest.raises(ValueError, match="that"):
        reparametrize(one_layer("Dense"), {"that": doubled("kernel")})


def test_a_shared_layer_and_one_in_a_nested_model_are_reached() -> None:
    keras_ = keras.tf_keras()
    inner = one_layer("Conv2D")
    a, b = keras_.Input(SIDE, name="a"), keras_.Input(SIDE, name="b")
    model = keras_.Model([a, b], keras_.layers.Add()([inner(a), inner(b)]))
    samples = [np.full((1, *SIDE), value, np.float32) for value in (1, 2)]
    plain = strip(reparametrize(model, {"it": doubled("kernel")}))
    np.testing.assert_allclose(plain(samples), 2 * model(samples), rtol=1e-6)
    assert parameters(plain) == parameters(model)


@pytest.mark.training
def test_training_moves_only_what_is_added_and_the_plain_model_has_it(
    trained: Any, digits: Dataset
) -> None:
    chosen = {
        layer.name: ranks(layer.kernel) for layer in trained.layers if hasattr(layer, "kernel")
    }
    for layer in trained.layers:
        layer.trainable = layer.name in chosen
    wrapped = reparametrize(trained, chosen)
    before = trained.get_weights()
    rows = fit(wrapped, given(digits), Finetune(epochs=2, learning_rate=1e-2, decay="none"))
    assert rows[-1][0] < rows[0][0]
    after = {kernel.name: kernel.variable.numpy() for kernel in kernels(wrapped)}
    for kernel in kernels(trained):
        np.testing.assert_array_equal(after[kernel.name], kernel.variable)
    found = learnt(wrapped)
    assert set(found) == set(chosen)
    plain = strip(wrapped)
    for name, added in found.items():
        own = trained.get_layer(name).kernel.numpy()
        moved = (added["a"] @ added["b"]).reshape(own.shape)
        np.testing.assert_allclose(plain.get_layer(name).kernel, own + moved, atol=1e-6)
        assert np.abs(moved).max() > 0
    assert [w.shape for w in plain.get_weights()] == [w.shape for w in before]
