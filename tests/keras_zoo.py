"""Small models, one for each thing that real models hold; each builds with Keras 2 and Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Build = Callable[[Any], Any]

IMAGE, SIGNAL, STEPS, FLAT, VIDEO = (8, 8, 3), (8, 3), (2, 3), (6,), (4, 6, 6, 2)


def chain(
    shape: tuple[int | None, ...], *makers: Callable[[Any], Any], dtype: str = "float32"
) -> Build:
    """A functional model of layers in a row."""

    def build(k: Any) -> Any:
        inputs = x = k.Input(shape, dtype=dtype, name="data")
        for make in makers:
            x = make(k.layers)(x)
        return k.Model(inputs, x)

    return build


def sequential(k: Any) -> Any:
    layers = k.layers
    body = k.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()])
    head = [layers.Flatten(), layers.Dense(3, activation="softmax", name="probabilities")]
    return k.Sequential([k.Input(IMAGE, name="data"), body, *head])


def nested(k: Any) -> Any:
    layers = k.layers
    inside = x = k.Input(IMAGE)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    inner = k.Model(inside, layers.BatchNormalization(name="norm")(x), name="backbone")
    inputs = k.Input(IMAGE, name="data")
    x = layers.Conv2D(3, 1, name="conv")(inputs)
    x = layers.GlobalAveragePooling2D()(inner(x, training=False))
    return k.Model(inputs, k.Sequential([layers.Dense(2)], name="head")(x))


def shared(k: Any) -> Any:
    layer = k.layers.Dense(6, activation="tanh", name="shared")
    inputs = k.Input(FLAT, name="data")
    return k.Model(inputs, layer(layer(inputs)))


def siamese(k: Any) -> Any:
    layers = k.layers
    inside = k.Input(IMAGE)
    x = layers.Conv2D(4, 3, strides=2)(inside)
    tower = k.Model(inside, layers.GlobalMaxPooling2D()(x), name="tower")
    left, right = k.Input(IMAGE, name="left"), k.Input(IMAGE, name="right")
    both = layers.Subtract()([tower(left), tower(right)])
    return k.Model([left, right], layers.Dense(1, activation="sigmoid")(both))


def several(k: Any) -> Any:
    layers = k.layers
    image, facts = k.Input(IMAGE, name="zimage"), k.Input(FLAT, name="facts")
    x = layers.Flatten()(layers.Conv2D(2, 3)(image))
    x = layers.Concatenate()([x, facts])
    outputs = [
        layers.Dense(3, activation="softmax", name="kind")(x),
        layers.Dense(1, name="age")(x),
    ]
    return k.Model([image, facts], outputs)


def dictionaries(k: Any) -> Any:
    layers = k.layers
    inputs = {"b": k.Input(FLAT, name="b"), "a": k.Input(FLAT, name="a")}
    x = layers.Add()([inputs["a"], inputs["b"]])
    return k.Model(inputs, {"size": layers.Dense(2)(x), "kind": layers.Dense(3)(x)})


def two_outputs(k: Any) -> Any:
    inputs = k.Input(STEPS, name="data")
    _, h, c = k.layers.LSTM(4, return_state=True)(inputs)
    x = k.layers.LSTM(4)(inputs, initial_state=[h, c])
    return k.Model(inputs, [x, h])


def masked(k: Any) -> Any:
    inputs = k.Input((2,), dtype="int32", name="data")
    x = k.layers.Embedding(9, 4, mask_zero=True)(inputs)
    return k.Model(inputs, k.layers.Bidirectional(k.layers.GRU(3))(x))


def transformer(k: Any) -> Any:
    layers = k.layers
    inputs = k.Input((6, 8), name="data")
    x = layers.LayerNormalization()(inputs)
    x = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    x = layers.Add()([inputs, x])
    return k.Model(inputs, layers.Dense(4, activation="gelu")(x))


def attention(k: Any) -> Any:
    inputs = k.Input((6, 8), name="data")
    return k.Model(inputs, k.layers.Attention(use_scale=True)([inputs, k.layers.Dense(8)(inputs)]))


def merging(k: Any) -> Any:
    layers = k.layers
    inputs = k.Input(FLAT, name="data")
    a, b = layers.Dense(4)(inputs), layers.Dense(4)(inputs)
    kinds = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    parts = [getattr(layers, kind)()([a, b]) for kind in kinds]
    return k.Model(inputs, layers.Concatenate()([*parts, layers.Dot(axes=1)([a, b])]))


def arithmetic(k: Any) -> Any:
    """What people write with operators and slices."""
    inputs = k.Input(IMAGE, name="data")
    x = (inputs * 2.0 - 1.0) / 3.0 + k.layers.Conv2D(3, 3, padding="same")(inputs)
    return k.Model(inputs, abs(-x)[:, 1:, ::2, 0] ** 2)


def time_distributed_model(k: Any) -> Any:
    inside = k.Input((6, 6, 2))
    frame = k.Model(inside, k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(3, 3)(inside)))
    inputs = k.Input(VIDEO, name="data")
    return k.Model(inputs, k.layers.TimeDistributed(frame)(inputs))


def normalization(k: Any) -> Any:
    import numpy as np

    layer = k.layers.Normalization(name="scaled")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (32, *SIGNAL)).astype(np.float32))
    inputs = k.Input(SIGNAL, name="data")
    return k.Model(inputs, k.layers.Conv1D(2, 3)(layer(inputs)))


def trained_norm(k: Any) -> Any:
    """Batch normalization whose statistics are not the initial ones."""
    import numpy as np

    model = chain(IMAGE, lambda n: n.Conv2D(4, 3), lambda n: n.BatchNormalization())(k)
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def _layer(shape: tuple[int | None, ...], name: str, *args: Any, **kwargs: Any) -> Build:
    return chain(shape, lambda n: getattr(n, name)(*args, **kwargs))


def _rnn(name: str, **kwargs: Any) -> Build:
    return chain(STEPS, lambda n: getattr(n, name)(4, **kwargs))


LAYERS: dict[str, Build] = {
    "dense": _layer(FLAT, "Dense", 4, activation="relu", kernel_regularizer="l2"),
    "conv1d": _layer(SIGNAL, "Conv1D", 4, 3, padding="causal", dilation_rate=2),
    "conv2d": _layer(IMAGE, "Conv2D", 4, 3, strides=2, padding="same", use_bias=False),
    "conv3d": _layer(VIDEO, "Conv3D", 2, 3),
    "conv1d_transpose": _layer(SIGNAL, "Conv1DTranspose", 4, 3, strides=2, padding="same"),
    "conv2d_transpose": _layer(IMAGE, "Conv2DTranspose", 4, 3, strides=2, padding="same"),
    "separable_conv1d": _layer(SIGNAL, "SeparableConv1D", 4, 3, depth_multiplier=2),
    "separable_conv2d": _layer(IMAGE, "SeparableConv2D", 4, 3, padding="same"),
    "depthwise_conv1d": _layer(SIGNAL, "DepthwiseConv1D", 3),
    "depthwise_conv2d": _layer(IMAGE, "DepthwiseConv2D", 3, strides=2, padding="same"),
    "batch_normalization": trained_norm,
    "layer_normalization": _layer(SIGNAL, "LayerNormalization"),
    "group_normalization": _layer((8, 8, 4), "GroupNormalization", groups=2),
    "unit_normalization": _layer(SIGNAL, "UnitNormalization"),
    "normalization": normalization,
    "rescaling": _layer(IMAGE, "Rescaling", 2.0, offset=-1.0),
    "resizing": _layer(IMAGE, "Resizing", 6, 5),
    "max_pooling1d": _layer(SIGNAL, "MaxPooling1D"),
    "max_pooling2d": _layer(IMAGE, "MaxPooling2D", 3, strides=2, padding="same"),
    "average_pooling1d": _layer(SIGNAL, "AveragePooling1D", 2),
    "average_pooling2d": _layer(IMAGE, "AveragePooling2D", 2, padding="same"),
    "global_average_pooling1d": _layer(SIGNAL, "GlobalAveragePooling1D"),
    "global_average_pooling2d": _layer(IMAGE, "GlobalAveragePooling2D", keepdims=True),
    "global_max_pooling1d": _layer(SIGNAL, "GlobalMaxPooling1D"),
    "global_max_pooling2d": _layer(IMAGE, "GlobalMaxPooling2D"),
    "up_sampling1d": _layer(SIGNAL, "UpSampling1D"),
    "up_sampling2d": _layer(IMAGE, "UpSampling2D", interpolation="bilinear"),
    "zero_padding1d": _layer(SIGNAL, "ZeroPadding1D", 2),
    "zero_padding2d": _layer(IMAGE, "ZeroPadding2D", ((0, 1), (1, 0))),
    "cropping1d": _layer(SIGNAL, "Cropping1D", 1),
    "cropping2d": _layer(IMAGE, "Cropping2D", 1),
    "embedding": chain((5,), lambda n: n.Embedding(9, 4), lambda n: n.Flatten(), dtype="int32"),
    "masking": masked,
    "lstm": _rnn("LSTM", return_sequences=True),
    "gru": _rnn("GRU"),
    "gru_reset_before": _rnn("GRU", reset_after=False),
    "simple_rnn": _rnn("SimpleRNN", go_backwards=True),
    "lstm_states": two_outputs,
    "bidirectional": chain(
        STEPS, lambda n: n.Bidirectional(n.LSTM(3, return_sequences=True), merge_mode="sum")
    ),
    "time_distributed": chain(SIGNAL, lambda n: n.TimeDistributed(n.Dense(4, activation="relu"))),
    "time_distributed_model": time_distributed_model,
    "multi_head_attention": transformer,
    "attention": attention,
    "merging": merging,
    "reshape": chain(
        FLAT, lambda n: n.Reshape((2, 3)), lambda n: n.Permute((2, 1)), lambda n: n.Flatten()
    ),
    "repeat_vector": _layer(FLAT, "RepeatVector", 3),
    "dropout": chain(
        IMAGE,
        lambda n: n.GaussianNoise(0.1),
        lambda n: n.SpatialDropout2D(0.2),
        lambda n: n.Dropout(0.5),
        lambda n: n.RandomFlip(),
        lambda n: n.Dense(2),
    ),
    "relu_layer": _layer(FLAT, "ReLU", max_value=3.0, negative_slope=0.1, threshold=0.2),
    "leaky_relu_layer": _layer(FLAT, "LeakyReLU", 0.1),
    "prelu": _layer(IMAGE, "PReLU", shared_axes=[1, 2], alpha_initializer="ones"),
    "elu_layer": _layer(FLAT, "ELU", alpha=0.7),
    "softmax_layer": _layer(SIGNAL, "Softmax", axis=1),
    "activation_layer": chain(FLAT, lambda n: n.Dense(4, activation=n.LeakyReLU(0.3))),
    "sequential": sequential,
    "nested": nested,
    "shared": shared,
    "siamese": siamese,
    "several": several,
    "dictionaries": dictionaries,
    "arithmetic": arithmetic,
}
"""Models that both versions of Keras build."""


def _activation(name: str) -> Build:
    return chain(FLAT, lambda n: n.Dense(4, activation=name), lambda n: n.Activation(name))


_BOTH = (
    *("elu", "exponential", "gelu", "hard_sigmoid", "linear", "mish", "relu", "selu", "sigmoid"),
    *("softmax", "softplus", "softsign", "swish", "tanh"),
)
_NEW = (
    *("celu", "glu", "hard_shrink", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu"),
    *("log_sigmoid", "log_softmax", "relu6", "silu", "soft_shrink", "sparse_plus"),
    *("sparse_sigmoid", "sparsemax", "squareplus", "tanh_shrink"),
)

ACTIVATIONS = {name: _activation(name) for name in _BOTH}
NEW_ACTIVATIONS = {name: _activation(name) for name in _NEW}
"""Those that only Keras 3 has."""


def _operation(apply: Callable[[Any, Any], Any], shape: tuple[int, ...] = SIGNAL) -> Build:
    def build(k: Any) -> Any:
        inputs = k.Input(shape, name="data")
        return k.Model(inputs, apply(k, inputs))

    return build


OPERATIONS: dict[str, Build] = {
    "arithmetic": _operation(
        lambda k, x: (
            k.ops.maximum(k.ops.minimum(x + x, 1.5), -0.5) - k.ops.power(x, 2) / (x * x + 1)
        )
    ),
    "reductions": _operation(
        lambda k, x: k.ops.concatenate(
            [f(x, axis=1) for f in (k.ops.mean, k.ops.sum, k.ops.max, k.ops.min, k.ops.std)],
            axis=-1,
        )
    ),
    "functions": _operation(
        lambda k, x: (
            k.ops.sqrt(k.ops.exp(k.ops.abs(x)))
            + k.ops.square(x)
            + k.ops.log(k.ops.abs(x) + 1)
            + k.ops.clip(x, -1, 1)
        )
    ),
    "shapes": _operation(
        lambda k, x: k.ops.squeeze(
            k.ops.expand_dims(k.ops.transpose(k.ops.reshape(x, (-1, 4, 6)), (0, 2, 1)), 1), 1
        )
    ),
    "moves": _operation(
        lambda k, x: k.ops.pad(
            k.ops.swapaxes(k.ops.moveaxis(x, 1, 2), 1, 2), ((0, 0), (1, 2), (0, 0))
        )
    ),
    "parts": _operation(lambda k, x: k.ops.stack(k.ops.split(x, [1, 2], axis=2), axis=1)[:, 0]),
    "products": _operation(lambda k, x: k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1)))),
    "activations": _operation(
        lambda k, x: (
            k.ops.relu(x)
            + k.ops.sigmoid(x)
            + k.ops.softmax(x)
            + k.ops.silu(x)
            + k.activations.relu(x, max_value=1.0)
            + k.ops.gelu(x)
            + k.ops.leaky_relu(x)
        )
    ),
    "activations_more": _operation(
        lambda k, x: (
            k.ops.hard_sigmoid(x)
            + k.ops.relu6(x)
            + k.ops.log_softmax(x)
            + k.ops.celu(x)
            + k.ops.softmax(x, axis=1)
            + k.ops.elu(x)
            + k.activations.threshold(x, 0.2, 0.1)
        )
    ),
    "choices": _operation(lambda k, x: k.ops.where(x > 0.5, x, k.ops.zeros_like(x))),
    "constants": _operation(lambda k, x: x * __import__("numpy").array([1.0, 2.0, 3.0])),
    "cast": _operation(lambda k, x: k.ops.cast(k.ops.cast(x, "int32"), "float32") + k.ops.round(x)),
    "images": _operation(lambda k, x: k.ops.image.resize(k.ops.flip(x, 1), (6, 10)), IMAGE),
    "categories": _operation(lambda k, x: k.ops.one_hot(k.ops.argmax(x, -1), 3)),
}
"""Keras 3 models of operations that are not layers."""
