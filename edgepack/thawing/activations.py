"""Activations: those fused into an operator, and those that are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.thawing.call import Builder, Call, UnsuitableError

WORDS = {"NONE": "linear", "RELU": "relu", "TANH": "tanh"}
"""Fused activations that a layer of Keras has in itself."""


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        "ELU": _word("elu"),
        "GELU": gelu,
        "HARD_SWISH": hard_swish,
        "L2_NORMALIZATION": l2_normalization,
        "LEAKY_RELU": leaky_relu,
        "LOGISTIC": _word("sigmoid"),
        "LOG_SOFTMAX": lambda call: call.function(keras.tensorflow().nn.log_softmax, call.input(0)),
        "RELU": lambda call: relu(call, call.input(0)),
        "RELU6": lambda call: relu(call, call.input(0), 6.0),
        "RELU_0_TO_1": lambda call: relu(call, call.input(0), 1.0),
        "RELU_N1_TO_1": lambda call: clip(call, call.input(0)),
        "SOFTMAX": softmax,
        "TANH": _word("tanh"),
    }


def word_of(call: Call) -> str:
    """What Keras calls the activation of an operator; empty where it needs a layer of its own."""
    return WORDS.get(_fused(call), "")


def activate(call: Call, y: Any) -> Any:
    """An output after the activation that is fused into the operator."""
    fused = _fused(call)
    if fused == "NONE":
        return y
    if fused not in FUSED:
        raise UnsuitableError(f"edgepack knows no activation {fused}")
    return FUSED[fused](call, y)


def _fused(call: Call) -> str:
    return str(call.last.options.get("fused_activation_function", "NONE"))


def _word(word: str) -> Builder:
    return lambda call: _activation(call, call.input(0), word)


def _activation(call: Call, x: Any, word: str) -> Any:
    if not symbolic(x):
        return keras.tf_keras().activations.get(word)(x)
    return call.layer("Activation", x, activation=word)


def relu(call: Call, x: Any, highest: float | None = None) -> Any:
    """From 0 on, maybe up to a highest value."""
    return call.layer("ReLU", x, max_value=highest)


def clip(call: Call, x: Any) -> Any:
    """Between -1 and 1."""
    return call.function(keras.tensorflow().clip_by_value, x, -1.0, 1.0)


def leaky_relu(call: Call) -> Any:
    """With a slope for what is negative."""
    return call.layer("LeakyReLU", call.input(0), alpha=float(call.option("alpha")))


def gelu(call: Call) -> Any:
    """Exact, or by tanh."""
    approximate = bool(call.option("approximate", False))
    return call.function(keras.tensorflow().nn.gelu, call.input(0), approximate)


def hard_swish(call: Call) -> Any:
    """Gives x * relu6(x + 3) / 6, in the shape that the converter fuses again."""
    tf, x = keras.tensorflow(), call.input(0)
    gate = call.function(tf.nn.relu6, call.function(tf.add, x, 3.0))
    return call.function(tf.multiply, call.function(tf.multiply, x, gate), 1.0 / 6.0)


def softmax(call: Call) -> Any:
    """Over the last axis; beta sharpens it."""
    x, beta = call.input(0), float(call.option("beta", 1.0))
    if beta != 1:
        x = call.function(keras.tensorflow().multiply, x, beta)
    return _activation(call, x, "softmax")


def l2_normalization(call: Call) -> Any:
    """To a Euclidean norm of 1 over the last axis."""
    tf = keras.tensorflow()
    y = call.function(tf.math.l2_normalize, call.input(0), -1, epsilon=1e-12)
    return activate(call, y)


FUSED: dict[str, Callable[[Call, Any], Any]] = {
    "RELU": relu,
    "RELU6": lambda call, y: relu(call, y, 6.0),
    "RELU_N1_TO_1": clip,
    "TANH": lambda call, y: _activation(call, y, "tanh"),
}
