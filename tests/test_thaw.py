"""A float .tflite as a trainable Keras model: each operator, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_zoo
import numpy as np
import pytest
import single_operator
from samples import given, separable_network
from single_operator import Data, constant, index

from edgepack import keras
from edgepack.errors import EdgepackError, ModelError, StepError
from edgepack.network.kernels import kernels
from edgepack.steps.convert import Convert
from edgepack.steps.thaw import Thaw
from edgepack.tflite import flatbuffer, flatbytes
from edgepack.thawing.builders import builders
from edgepack.thawing.call import MOST_VALUES, Scene, UnsuitableError
from edgepack.thawing.names import Names
from edgepack.thawing.obstacles import obstacles

IMAGE, STEPS = (1, 6, 8, 4), (1, 6, 8)
Parts = Callable[..., list[Any]]


def numbers(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def flatbuffer_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> bytes:
    """What the converter makes of a TensorFlow function."""
    tf = keras.tensorflow()
    specs = [tf.TensorSpec(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    concrete = tf.function(function, input_signature=specs).get_concrete_function()
    made: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    return made


def thawed(data: bytes) -> tuple[Any, dict[str, Any], list[str]]:
    """A model, what was recorded, and the remarks."""
    facts: dict[str, Any] = {}
    remarks: list[str] = []
    keras.start(0)
    return (
        Thaw().apply(data, given(remark=remarks.append, record=facts.__setitem__)),
        facts,
        remarks,
    )


def kinds(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def convolutions(tf: Any, x: Any) -> list[Any]:
    cut = tf.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]])
    return [
        tf.nn.conv2d(x, numbers(3, 3, 4, 5), 1, "SAME", dilations=2),
        tf.nn.relu(tf.nn.conv2d(x, numbers(3, 3, 2, 6), 1, "SAME") + numbers(6)),
        tf.nn.relu6(tf.nn.conv2d(x, numbers(3, 3, 4, 7), [2, 1], "VALID") + numbers(7)),
        tf.clip_by_value(tf.nn.conv2d(x, numbers(1, 3, 4, 5), 2, "VALID") + numbers(5), -1, 1),
        tf.nn.conv2d(cut, numbers(3, 3, 4, 3), 2, "VALID"),
        tf.nn.tanh(tf.nn.depthwise_conv2d(x, numbers(3, 3, 4, 2), [1, 2, 2, 1], "SAME")),
        tf.nn.depthwise_conv2d(x, numbers(3, 3, 4, 1), [1, 1, 1, 1], "SAME", dilations=[2, 2]),
        tf.nn.conv2d_transpose(x, numbers(3, 3, 5, 4), [1, 12, 16, 5], 2, "SAME") + numbers(5),
        tf.nn.conv2d_transpose(x, numbers(3, 3, 6, 4), [1, 11, 15, 6], 2, "SAME"),
        tf.nn.conv2d_transpose(x, numbers(3, 3, 7, 4), [1, 13, 17, 7], 2, "VALID"),
        tf.nn.conv2d_transpose(x, numbers(2, 2, 5, 4), [1, 18, 24, 5], 3, "VALID"),
    ]


def products(tf: Any, x: Any) -> list[Any]:
    return [
        tf.nn.relu(tf.einsum("btc,cd->btd", x, numbers(8, 5)) + numbers(5)),
        tf.matmul(tf.reshape(x, [1, 48]), numbers(48, 5)) + numbers(5),
        tf.matmul(x, numbers(5, 8), transpose_b=True),
        tf.matmul(x, x, transpose_b=True),
        tf.matmul(numbers(1, 5, 6), x),
    ]


def images(tf: Any, x: Any) -> list[Any]:
    old = tf.compat.v1.image
    return [
        tf.nn.avg_pool2d(tf.nn.max_pool2d(x, 3, 1, "SAME"), 2, 2, "VALID"),
        *(tf.image.resize(x, size) for size in ([12, 16], [7, 5])),
        *(tf.image.resize(x, size, "nearest") for size in ([12, 16], [9, 5])),
        *(old.resize_bilinear(x, [11, 15], align_corners=way) for way in (True, False)),
        *(old.resize_nearest_neighbor(x, [11, 15], align_corners=way) for way in (True, False)),
        tf.nn.space_to_depth(tf.nn.depth_to_space(x, 2), 2),
        tf.reduce_mean(x, [1, 2]),
        tf.reduce_max(x, [1, 2], keepdims=True),
    ]


def values(tf: Any, x: Any) -> list[Any]:
    positive = tf.abs(x) + 0.5
    other = tf.reverse(x, [1])
    some = tf.logical_or(tf.logical_and(x > other, x < 1.0), tf.logical_not(x >= 0.0))
    return [
        *(f(positive) for f in (tf.exp, tf.math.log, tf.sqrt, tf.math.rsqrt)),
        *(f(x) for f in (tf.negative, tf.square, tf.sin, tf.cos, tf.floor, tf.math.ceil, tf.round)),
        *(tf.pow(positive, 1.5), tf.math.floordiv(x, 0.7), tf.math.floormod(x, 0.3)),
        *(f(x, other) for f in (tf.maximum, tf.minimum, tf.math.squared_difference)),
        *(x / (other * other + 1.0), x - other, x * other, x + x),
        tf.where(some, x, tf.cast(tf.not_equal(x, other), tf.float32)),
        tf.where(x <= 0.0, x, tf.cast(tf.equal(x, other), tf.float32)),
    ]


def activations(tf: Any, x: Any) -> list[Any]:
    nn = tf.nn
    named = (nn.elu, nn.log_softmax, nn.softmax, nn.sigmoid, nn.tanh, nn.relu, nn.relu6)
    return [
        *(f(x) for f in named),
        nn.leaky_relu(x, 0.3),
        nn.gelu(x, approximate=True),
        x * nn.relu6(x + 3.0) / 6.0,
        nn.l2_normalize(x, -1),
    ]


def axes(tf: Any, x: Any) -> list[Any]:
    return [
        *(f(x, [1, 3]) for f in (tf.reduce_min, tf.reduce_sum, tf.reduce_prod)),
        *(tf.cast(f(x > 0.0, [1]), tf.float32) for f in (tf.reduce_any, tf.reduce_all)),
        tf.cumsum(x, 1, exclusive=True, reverse=True),
        *(tf.argmax(x, -1), tf.argmin(x, 1, output_type=tf.int32)),
        *tf.math.top_k(x, 2),
        tf.one_hot(tf.argmax(x, -1), 4, on_value=2.0, off_value=-1.0),
        x - tf.reduce_mean(x, [0, 1, 2, 3]),
    ]


def moves(tf: Any, x: Any) -> list[Any]:
    around = [[0, 0], [1, 1], [2, 1], [0, 0]]
    turned = tf.transpose(x, [1, 0, 2, 3]) * 2.0
    return [
        *(*tf.split(x, 2, -1), *tf.split(x, [1, 3], -1)),
        tf.slice(x, [0, 1, 2, 0], [1, 3, -1, 2]) + x[:, 1:4, 7:1:-1, ::2],
        x[:, -1, 1::3, tf.newaxis],
        tf.stack(tf.unstack(x, axis=1)[::-1], axis=2),
        tf.squeeze(tf.expand_dims(x, 2)),
        tf.transpose(turned, [1, 2, 3, 0]),
        *(tf.pad(x, around, mode) for mode in ("REFLECT", "SYMMETRIC")),
        tf.pad(x, [[0, 0], [1, 1], [2, 1], [0, 1]], constant_values=-3.0),
        *(tf.tile(x, [1, 2, 1, 3]), tf.reverse(x, [1, 2]), tf.gather(x, [2, 0, 1], axis=2)),
        tf.concat([x, tf.constant(numbers(1, 6, 8, 2))], -1),
        tf.batch_to_space(tf.space_to_batch(x, [2, 2], [[0, 0]] * 2), [2, 2], [[0, 0]] * 2),
    ]


GROUPS: dict[str, tuple[Parts, tuple[int, ...]]] = {
    "convolutions": (convolutions, IMAGE),
    "products": (products, STEPS),
    "images": (images, IMAGE),
    "values": (values, IMAGE),
    "activations": (activations, IMAGE),
    "axes": (axes, IMAGE),
    "moves": (moves, IMAGE),
}


@pytest.mark.parametrize("group", GROUPS)
def test_operators_compute_the_same_for_a_batch(group: str, tmp_path: Path) -> None:
    parts, shape = GROUPS[group]
    data = flatbuffer_of(lambda x: parts(keras.tensorflow(), x), shape)
    model, facts, _ = thawed(data)
    assert facts["difference"] <= 1e-4
    assert {x.shape[0] for x in (*model.inputs, *model.outputs)} == {None}
    codes = {o.code for o in flatbuffer.read_graph(data).operators}
    assert codes and codes <= set(builders())
    path = tmp_path / "model.npz"
    path.write_bytes(keras.dump(model))
    keras.start(0)
    assert keras.dump(keras.read(path)) == path.read_bytes()


def test_constants_become_weights_of_layers() -> None:
    data = flatbuffer_of(lambda x: convolutions(keras.tensorflow(), x), IMAGE)
    model, _, _ = thawed(data)
    made = kinds(model)
    assert [made.count(k) for k in ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose")] == [5, 2, 4]
    count = flatbuffer.parameters(flatbuffer.read_graph(data))
    twice = 16  # Biases of zeros, which layers without one share in the file.
    assert count <= sum(np.prod(w.shape) for w in model.trainable_weights) <= count + twice


ZOO = (
    *("separable_conv1d", "layer_normalization", "embedding", "prelu", "time_distributed_model"),
    *("multi_head_attention", "shared", "siamese", "several", "group_normalization"),
)


@pytest.mark.parametrize("name", ZOO)
def test_models_keep_names_weights_and_outputs(name: str) -> None:
    keras.start(0)
    source = keras_zoo.LAYERS[name](keras.tf_keras())
    data = Convert(quantization="float32").apply(source, given())
    model, facts, _ = thawed(data)
    assert facts["difference"] <= 1e-4
    assert model.input_names == source.input_names
    assert model.output_names == source.output_names
    assert len(kernels(model)) == len(kernels(source))


def test_a_normalization_in_front_is_learnt_and_stays_what_it_is() -> None:
    tf = keras.tensorflow()

    def front(x: Any) -> Any:
        y = tf.nn.relu(tf.nn.max_pool2d(x, 2, 2, "VALID") * numbers(4) + numbers(4))
        return tf.nn.conv2d(y, numbers(1, 1, 4, 3), 1, "SAME") * numbers(3) - numbers(3)

    model, facts, remarks = thawed(flatbuffer_of(front, IMAGE))
    assert facts["difference"] <= 1e-5 and len(remarks) == 1
    assert kinds(model)[1:-1] == ["MaxPooling2D", "BatchNormalization", "ReLU", "Conv2D"]
    assert len(model.trainable_weights) == 4
    x = numbers(3, 6, 8, 4)
    np.testing.assert_allclose(model(x, training=True), model(x, training=False), atol=1e-6)


def test_constants_that_are_no_weights_are_told() -> None:
    _, _, remarks = thawed(flatbuffer_of(lambda x: x + numbers(6, 8), STEPS))
    assert "stays as it is, whatever is trained: the constant of ADD" in remarks[1]


def test_a_kernel_read_in_different_ways_stays_shared() -> None:
    tf, kernel = keras.tensorflow(), numbers(3, 3, 4, 2)

    def twice(x: Any) -> list[Any]:
        return [tf.nn.conv2d(x, kernel, stride, "SAME") for stride in (1, 2)]

    model, _, remarks = thawed(flatbuffer_of(twice, IMAGE))
    assert not model.weights
    assert "the kernel of" in remarks[1]


def test_a_table_that_is_read_twice_stays_shared() -> None:
    tf, table = keras.tensorflow(), numbers(5, 3)

    def tied(x: Any) -> list[Any]:
        rows = [tf.gather(table, tf.cast(x > limit, tf.int32)) for limit in (0.0, 1.0)]
        return [rows[0], rows[1], tf.linalg.matmul(rows[0], table, transpose_b=True)]

    model, _, remarks = thawed(flatbuffer_of(tied, STEPS))
    assert [kinds(model).count(kind) for kind in ("Embedding", "Dense")] == [1, 1]
    assert [w.shape.as_list() for w in model.weights] == [[5, 3], [3, 5]]
    assert "has a copy of weights that it shared with others" in remarks[1]


def test_a_kernel_with_another_bias_is_a_copy_that_is_told() -> None:
    tf, kernel = keras.tensorflow(), numbers(8, 3)

    def twice(*given: Any) -> list[Any]:
        return [tf.matmul(x, kernel) + numbers(i, 3)[0] for i, x in enumerate(given, 1)]

    model, _, remarks = thawed(flatbuffer_of(twice, (1, 8), (1, 8)))
    assert kinds(model).count("Dense") == 2
    assert "has a copy of weights that it shared with others" in remarks[1]


@pytest.mark.parametrize("quantization", ["float16", "float32"])
def test_weights_stored_otherwise_are_unpacked(quantization: str) -> None:
    keras.start(0)
    source = separable_network()
    data = Convert(quantization=quantization).apply(source, given())
    model, facts, _ = thawed(data)
    assert facts["difference"] <= 1e-4
    assert [k.variable.shape for k in kernels(model)] == [k.variable.shape for k in kernels(source)]
    assert {w.dtype.name for w in model.weights} == {"float32"}


def test_sparse_weights_are_unpacked() -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    dense = layers.Dense(32, name="dense")
    source = keras.tf_keras().Sequential([layers.Input((64,), name="data"), dense])
    kernel = numbers(64, 32)
    kernel[np.abs(kernel) < 1.5] = 0
    dense.set_weights([kernel, numbers(32)])
    converter = keras.tensorflow().lite.TFLiteConverter.from_keras_model(source)
    converter.optimizations = [keras.tensorflow().lite.Optimize.EXPERIMENTAL_SPARSITY]
    data = converter.convert()
    assert any(t.sparsity is not None for t in flatbuffer.read_graph(data).tensors)
    model, _, _ = thawed(data)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


def test_a_fused_recurrent_layer_is_one_again() -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    data = layers.Input((5, 3), batch_size=1, name="data")
    source = keras.tf_keras().Model(data, layers.Dense(2)(layers.LSTM(4)(data)))
    source.set_weights([numbers(*w.shape) for w in source.get_weights()])
    made = keras.tensorflow().lite.TFLiteConverter.from_keras_model(source).convert()
    model, facts, remarks = thawed(made)
    assert facts["difference"] <= 1e-5 and "LSTM" in kinds(model)
    assert "starts anew with each sample" in remarks[1]
    np.testing.assert_array_equal(model.get_weights()[1], source.get_weights()[1])


def refused(data: bytes) -> str:
    with pytest.raises(StepError) as caught:
        thawed(data)
    assert caught.value.hint.endswith("--recipe frozen-int8")
    return caught.value.message


def test_samples_that_meet_in_a_batch_are_refused() -> None:
    tf = keras.tensorflow()
    mixing = flatbuffer_of(lambda x: tf.sort(tf.reshape(x, [6, 8]), 0)[tf.newaxis], STEPS)
    assert "mixes the samples" in refused(mixing) or "batch" in refused(mixing)
    turned = flatbuffer_of(
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, [48, 4])), [1, 4, 6, 8]), IMAGE
    )
    assert "does not have its batch first" in refused(turned)
    assert "it takes the batch apart" in refused(flatbuffer_of(lambda x: tf.unstack(x)[0], STEPS))


def test_what_cannot_be_rebuilt_is_named_once() -> None:
    keras.start(0)
    loop = Convert(quantization="float32").apply(keras_zoo.LAYERS["gru"](keras.tf_keras()), given())
    assert "WHILE (op " in refused(loop) and refused(loop).count("WHILE") == 1
    custom = single_operator.write("mine", [Data((1, 4), "float32")], [Data((1, 4), "float32")])
    assert refused(custom) == "cannot be made trainable: mine (op 0, 'layer')"


def test_graphs_of_other_signatures_are_told() -> None:
    keras.start(0)
    data = Convert(quantization="float32").apply(keras_zoo.sequential(keras.tf_keras()), given())
    model = flatbytes.unpack(flatbytes.load(data))
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    found = obstacles(flatbuffer.read_graph(flatbytes.pack(model)))
    assert found == ["it has several signatures"]


def test_quantized_models_are_refused(models: Path) -> None:
    data = (models / "resnet8_int8.tflite").read_bytes()
    assert "it is quantized already (int8)" in refused(data)
    assert obstacles(flatbuffer.read_graph(data))[0] == "it is quantized already (int8)"


def test_names_that_keras_does_not_take() -> None:
    source = keras_zoo.LAYERS["several"](keras.tf_keras())
    from edgepack.tflite import signature

    data = Convert(quantization="float32").apply(source, given())
    odd = signature.sign(data, ["a b", "facts"], ["kind", "age"])
    assert "takes no input or output named 'a b'" in refused(odd)
    same = signature.sign(data, ["age", "facts"], ["kind", "age"])
    assert obstacles(flatbuffer.read_graph(same)) == ["an input and an output are both named 'age'"]
    keras.start(0)
    one = Convert(quantization="float32").apply(keras_zoo.sequential(keras.tf_keras()), given())
    model, _, _ = thawed(signature.sign(one, ["_the data"], ["what:0"]))
    assert (model.input_names, model.output_names) == (["x_the_data"], ["what_0"])


FLOATS = Data((1, 4, 4, 3), "float32")
SQUARE = {"kind": "Conv2DOptions", "strideH": 1, "strideW": 1, "dilationHFactor": 1}
CONVOLUTION = SQUARE | {"dilationWFactor": 1}
HOSTILE: dict[str, tuple[Any, ...]] = {
    "channels": ("CONV_2D", [FLOATS, constant((2, 3, 3, 5), "float32")], [FLOATS], CONVOLUTION),
    "no kernel": ("CONV_2D", [FLOATS], [FLOATS], CONVOLUTION),
    "flat kernel": ("CONV_2D", [FLOATS, constant((2, 3), "float32")], [FLOATS], CONVOLUTION),
    "stride 0": (
        *("CONV_2D", [FLOATS, constant((3, 3, 3, 3), "float32")], [FLOATS]),
        CONVOLUTION | {"strideH": 0},
    ),
    "huge dilation": (
        *("CONV_2D", [FLOATS, constant((3, 3, 3, 3), "float32")], [FLOATS]),
        CONVOLUTION | {"dilationHFactor": 1 << 30},
    ),
    "axis": (
        *("CONCATENATION", [FLOATS, FLOATS], [FLOATS]),
        {"kind": "ConcatenationOptions", "axis": 9},
    ),
    "order": ("TRANSPOSE", [FLOATS, index(0, 1, 7, -9)], [FLOATS]),
    "fill": ("FILL", [index(1 << 30, 1 << 30), Data((), "float32", 1.0)], [FLOATS]),
    "tile": ("TILE", [FLOATS, index(1, 1 << 28, 1 << 28, 1)], [FLOATS]),
    "pad": (
        *("PAD", [FLOATS, Data((4, 2), "int32", np.full((4, 2), 1 << 30))], [FLOATS]),
        {"kind": "PadOptions"},
    ),
    "short pad": ("PAD", [FLOATS, constant((2, 2), "int32")], [FLOATS]),
    "reshape": ("RESHAPE", [FLOATS, index(-1, -1, 5)], [FLOATS]),
    "resize": ("RESIZE_BILINEAR", [FLOATS, index(1 << 30, 1 << 30)], [FLOATS]),
    "resize 0": ("RESIZE_BILINEAR", [FLOATS, index(0, -4)], [FLOATS]),
    "gather": (
        *("GATHER", [FLOATS, index(1)], [FLOATS]),
        {"kind": "GatherOptions", "axis": 7},
    ),
    "outputs": ("SPLIT", [Data((), "int32", 3), FLOATS], [FLOATS] * 2, {"kind": "SplitOptions"}),
    "depthwise": (
        *("DEPTHWISE_CONV_2D", [FLOATS, constant((1, 3, 3, 7), "float32")], [FLOATS]),
        {"kind": "DepthwiseConv2DOptions", "strideH": 1, "strideW": 1, "depthMultiplier": 1},
    ),
    "uneven": (
        *("DEPTHWISE_CONV_2D", [FLOATS, constant((1, 3, 3, 3), "float32")], [FLOATS]),
        {"kind": "DepthwiseConv2DOptions", "strideH": 1, "strideW": 2, "depthMultiplier": 1},
    ),
    "pool": (
        *("MAX_POOL_2D", [FLOATS], [FLOATS]),
        {"kind": "Pool2DOptions", "strideH": 0, "strideW": 0},
    ),
    "number": ("ABS", [Data((), "float32")], [Data((), "float32")]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_fit_together_is_refused_in_words(name: str) -> None:
    with pytest.raises(EdgepackError) as caught:
        thawed(single_operator.write(*HOSTILE[name]))
    assert "cannot be made trainable" in caught.value.message
    assert HOSTILE[name][0] in caught.value.message or "has no batch" in caught.value.message


def test_many_large_constants_are_too_large() -> None:
    graph = flatbuffer.read_graph(single_operator.write("ABS", [FLOATS], [FLOATS]))
    scene, large = Scene(graph, Names(graph)), np.broadcast_to(np.float32(0), MOST_VALUES // 2)
    scene.note(0, large)
    scene.note(1, large)
    with pytest.raises(UnsuitableError, match="constants of more than"):
        scene.note(1, large)


def test_more_layers_than_keras_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(keras.tf_keras(), "Model", fail)
    assert "more layers follow one another" in refused(
        single_operator.write("ABS", [FLOATS], [FLOATS])
    )


def test_a_broken_file_is_a_model_error() -> None:
    with pytest.raises(ModelError):
        thawed(b"1234TFL3 and no more")
