"""Small tf_keras models, one for each way in which channels of several layers hang together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepack import keras

IMAGE = (8, 8, 3)
Build = Callable[[], Any]


def layers() -> Any:
    return keras.tf_keras().layers


def convolved(x: Any, width: int, size: int = 3, strides: int = 1) -> Any:
    """Convolution, batch normalization, ReLU."""
    x = layers().Conv2D(width, size, strides, padding="same", use_bias=False)(x)
    return layers().ReLU()(layers().BatchNormalization()(x))


def headed(image: Any, x: Any) -> Any:
    """A model that classifies what is left."""
    pooled = layers().GlobalAveragePooling2D()(x)
    scores = layers().Dense(5, activation="softmax", name="scores")(pooled)
    return keras.tf_keras().Model(image, scores)


def image() -> Any:
    return layers().Input(IMAGE, name="image")


def chain() -> Any:
    x = start = image()
    return headed(start, convolved(convolved(x, 6), 8))


def residual() -> Any:
    start = image()
    x = convolved(start, 8)
    for strides in (1, 2):
        inner = layers().Conv2D(8, 3, padding="same")(convolved(x, 6, strides=strides))
        passed = x if strides == 1 else layers().Conv2D(8, 1, strides)(x)
        x = layers().ReLU()(layers().Add()([inner, passed]))
    return headed(start, x)


def dense_blocks() -> Any:
    start = image()
    x = convolved(start, 6)
    for _ in range(2):
        x = layers().Concatenate()([x, convolved(x, 4)])
    return headed(start, layers().MaxPooling2D()(x))


def separable() -> Any:
    start = image()
    x = layers().DepthwiseConv2D(3, padding="same", depth_multiplier=2)(convolved(start, 6))
    x = layers().PReLU(shared_axes=[1, 2], alpha_initializer="uniform")(x)
    x = layers().SeparableConv2D(8, 3, depth_multiplier=2, activation="relu")(convolved(x, 6, 1))
    return headed(start, x)


def inverted_residual() -> Any:
    start = image()
    x = convolved(start, 6, strides=2)
    for _ in range(2):
        wide = layers().ZeroPadding2D(1)(convolved(x, 12, 1))
        wide = layers().DepthwiseConv2D(3, use_bias=False)(wide)
        wide = layers().ReLU(6.0)(layers().BatchNormalization()(wide))
        narrow = layers().BatchNormalization()(layers().Conv2D(6, 1, use_bias=False)(wide))
        x = layers().Add()([x, narrow])
    return headed(start, x)


def flattened() -> Any:
    start = image()
    x = layers().Flatten()(layers().MaxPooling2D()(convolved(start, 6)))
    x = layers().Dense(12, activation="relu")(x)
    x = layers().PReLU(alpha_initializer="uniform")(layers().Dense(8)(x))
    return keras.tf_keras().Model(start, layers().Dense(3)(x))


def reshaped() -> Any:
    start = image()
    x = layers().Reshape((64, 6))(convolved(start, 6))
    x = layers().Conv1D(8, 3, padding="causal", activation="relu")(x)
    x = layers().Permute((2, 1))(layers().MaxPooling1D(4)(x))
    x = layers().Reshape((16, 8))(layers().Permute((2, 1))(x))
    x = layers().Conv1DTranspose(6, 2, 2, activation="relu")(x)
    return keras.tf_keras().Model(start, layers().Dense(3)(layers().Flatten()(x)))


def several_outputs() -> Any:
    start = image()
    x = convolved(start, 8)
    box = layers().Dense(4, name="box")(layers().GlobalMaxPooling2D()(convolved(x, 6)))
    kind = layers().Dense(3, name="kind")(layers().GlobalAveragePooling2D()(x))
    return keras.tf_keras().Model(start, [box, kind])


def shared() -> Any:
    start, other = image(), layers().Input(IMAGE, name="other")
    layer = layers().Conv2D(8, 3, padding="same", activation="relu", name="shared")
    again = layers().Conv2D(8, 3, padding="same", activation="relu", name="again")
    left, right = again(again(layer(start))), again(layer(other))
    return headed([start, other], layers().Subtract()([left, right]))


def squeezed() -> Any:
    start = image()
    x = convolved(start, 8)
    gate = layers().GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers().Conv2D(4, 1, activation="relu")(gate)
    gate = layers().Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers().Multiply()([x, gate])
    gate = layers().Dense(8, activation="sigmoid")(layers().GlobalAveragePooling2D()(x))
    return headed(start, layers().Multiply()([x, layers().Reshape((1, 1, 8))(gate)]))


def u_net() -> Any:
    start = image()
    x = fine = convolved(start, 6)
    x = convolved(layers().MaxPooling2D()(x), 8)
    x = layers().UpSampling2D()(x)
    x = convolved(layers().Concatenate()([fine, x]), 6)
    x = layers().Conv2DTranspose(6, 2, 2, activation="relu")(layers().AveragePooling2D()(x))
    return keras.tf_keras().Model(start, layers().Conv2D(2, 1, activation="sigmoid")(x))


def grouped() -> Any:
    start = image()
    x = layers().Conv2D(8, 3, groups=4, padding="same", activation="relu")(convolved(start, 8))
    x = layers().Conv2D(16, 3, groups=8, padding="same", activation="relu")(x)
    return headed(start, convolved(x, 6))


def nested() -> Any:
    inside = layers().Input((8, 8, 6))
    inner = keras.tf_keras().Model(inside, convolved(inside, 6), name="inner")
    start = image()
    return headed(start, inner(inner(convolved(start, 6))))


def functions() -> Any:
    """TensorFlow's functions, as a bridge leaves them."""
    tf, start = keras.tensorflow(), image()
    x = tf.pad(convolved(start, 6), [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.nn.relu6(convolved(x, 6) * np.arange(1, 7, dtype=np.float32) + x)
    gate = tf.reduce_mean(x, [1, 2])
    x = x * tf.reshape(layers().Dense(6, "relu")(gate), [-1, 1, 1, 6])
    x = tf.concat([x, tf.maximum(convolved(x, 4), 0.5 * convolved(x, 4))], -1)
    x = tf.transpose(tf.reshape(x, [-1, 100, 10]), [0, 2, 1])
    x = tf.squeeze(tf.expand_dims(tf.reduce_sum(x, -1), 1), 1)
    return keras.tf_keras().Model(start, layers().Dense(3)(x))


def sequences() -> Any:
    """An embedding, convolutions along time, and a broadcast."""
    words = layers().Input((6,), dtype="int32", name="words")
    x = layers().SeparableConv1D(8, 3, activation="relu")(layers().Embedding(9, 6)(words))
    x = layers().DepthwiseConv1D(2, activation="relu")(layers().ZeroPadding1D(1)(x))
    x = layers().Multiply()([x, layers().Conv1D(1, 1, activation="sigmoid")(x)])
    x = layers().RepeatVector(2)(layers().GlobalMaxPooling1D()(x))
    return keras.tf_keras().Model(words, layers().Dense(3)(x))


MODELS: dict[str, Build] = {
    f.__name__: f
    for f in (
        *(chain, residual, dense_blocks, separable, inverted_residual, flattened, reshaped),
        *(several_outputs, shared, squeezed, u_net, grouped, nested, functions, sequences),
    )
}


def randomized(model: Any) -> Any:
    """All weights random, statistics of normalizations too."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(-0.5, 1.0, w.shape) ** 2 - 0.1 for w in model.get_weights()])
    for layer in model.submodules:
        if "BatchNormalization" in type(layer).__name__:
            layer.moving_variance.assign(layer.moving_variance**2 + 0.5)
    return model
