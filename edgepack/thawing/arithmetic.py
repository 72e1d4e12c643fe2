"""Operators that compute value by value, over axes, or choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.thawing import affine
from edgepack.thawing.activations import activate
from edgepack.thawing.call import Builder, Call, batch_axis

UNARY = {
    "ABS": "abs",
    "CEIL": "math.ceil",
    "COS": "cos",
    "EXP": "exp",
    "FLOOR": "floor",
    "LOG": "math.log",
    "LOGICAL_NOT": "logical_not",
    "NEG": "negative",
    "ROUND": "round",
    "RSQRT": "math.rsqrt",
    "SIGN": "sign",
    "SIN": "sin",
    "SQRT": "sqrt",
    "SQUARE": "square",
}
"""Functions of one value, as TensorFlow calls them."""

BINARY = {
    "ADD": "add",
    "ATAN2": "math.atan2",
    "DIV": "truediv",
    "EQUAL": "equal",
    "FLOOR_DIV": "math.floordiv",
    "FLOOR_MOD": "math.floormod",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "LOGICAL_AND": "logical_and",
    "LOGICAL_OR": "logical_or",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
    "MUL": "multiply",
    "NOT_EQUAL": "not_equal",
    "POW": "pow",
    "SQUARED_DIFFERENCE": "math.squared_difference",
    "SUB": "subtract",
}
"""Functions of two values."""

LAYERS = {
    "ADD": "Add",
    "MAXIMUM": "Maximum",
    "MINIMUM": "Minimum",
    "MUL": "Multiply",
    "SUB": "Subtract",
}
"""What TF-MOT knows as layers, where both sides are tensors of one shape."""

COMMUTATIVE = frozenset({"ADD", "EQUAL", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE"})
"""What is the same with its sides exchanged."""

REDUCTIONS = {
    "MEAN": "reduce_mean",
    "REDUCE_ALL": "reduce_all",
    "REDUCE_ANY": "reduce_any",
    "REDUCE_MAX": "reduce_max",
    "REDUCE_MIN": "reduce_min",
    "REDUCE_PROD": "reduce_prod",
    "SUM": "reduce_sum",
}
"""Functions over axes."""

POOLED = {"MEAN": "GlobalAveragePooling2D", "REDUCE_MAX": "GlobalMaxPooling2D"}
"""What some of them are over the rows and columns of images."""


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        **{code: _unary(name) for code, name in UNARY.items()},
        **{code: _binary(name) for code, name in BINARY.items()},
        **{code: _reduction(name) for code, name in REDUCTIONS.items()},
        "ADD_N": added,
        "ARG_MAX": _largest("argmax"),
        "ARG_MIN": _largest("argmin"),
        "CUMSUM": running_sum,
        "ONE_HOT": one_hot,
        "SELECT": select,
        "SELECT_V2": select,
        "TOPK_V2": top,
    }


def _named(name: str) -> Any:
    """A function of TensorFlow by its name."""
    found: Any = keras.tensorflow()
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _unary(name: str) -> Builder:
    return lambda call: call.function(_named(name), call.input(0))


def _binary(name: str) -> Builder:
    return lambda call: binary(call, _named(name))


def binary(call: Call, function: Callable[..., Any]) -> Any:
    """Of two tensors a layer where there is one; of a tensor and channels one that learns."""
    x, y, code = call.input(0), call.input(1), call.operator.code
    if symbolic(x) and symbolic(y):
        together = code in LAYERS and x.shape == y.shape and x is not y
        made = call.layer(LAYERS[code], [x, y]) if together else call.function(function, x, y)
        return activate(call, made)
    if code in affine.AFFINE:
        made = affine.normalization(call)
        if made is not None:
            return activate(call, made)
    constant = y if symbolic(x) else x
    if (
        np.size(constant) > 1
        and np.asarray(constant).dtype.kind == "f"
        and symbolic(x) != symbolic(y)
    ):
        call.fix(f"the constant of {code}")
    if code in COMMUTATIVE and not symbolic(x):
        x, y = y, x
    return activate(call, call.function(function, x, y))


def _reduction(name: str) -> Builder:
    return lambda call: reduction(call, _named(name))


def reduction(call: Call, function: Callable[..., Any]) -> Any:
    """Over axes; over the rows and columns of images a layer."""
    x, keep = call.input(0), bool(call.option("keep_dims", False))
    axes = sorted(int(i) % max(1, len(x.shape)) for i in call.constant(1).reshape(-1))
    layer = POOLED.get(call.operator.code)
    if symbolic(x) and layer and axes == [1, 2] and len(x.shape) == 4 and batch_axis(x) == 0:
        return call.layer(layer, x, keepdims=keep)
    batch = batch_axis(x) if symbolic(x) else None
    if batch in axes and call.sizes(0)[batch] == 1:
        # The one sample of the source: what is found for it stays beside it, for each sample.
        axes.remove(batch)
        keep = True
    return call.function(function, x, axes, keepdims=keep) if axes else x


def added(call: Call) -> Any:
    """The sum of several."""
    return call.layer("Add", [call.input(i) for i in range(len(call.inputs))])


def _largest(name: str) -> Builder:
    return lambda call: call.function(
        _named(name), call.input(0), call.integer(1), output_type=call.output().dtype
    )


def running_sum(call: Call) -> Any:
    """The sums of all values up to each."""
    ways = {name: bool(call.option(name, False)) for name in ("exclusive", "reverse")}
    return call.function(keras.tensorflow().cumsum, call.input(0), call.integer(1), **ways)


def one_hot(call: Call) -> Any:
    """Numbers to vectors with a single other value."""
    ends = [call.constant(i).reshape(()).item() for i in (2, 3)]
    kind = call.output().dtype
    return call.function(
        keras.tensorflow().one_hot,
        *(call.input(0), call.integer(1), *ends),
        axis=int(call.option("axis", -1)),
        dtype=kind,
    )


def select(call: Call) -> Any:
    """One of two, by a condition; in the old way a condition chooses whole rows."""
    tf = keras.tensorflow()
    which, x, y = (call.input(i) for i in range(3))
    if any(np.size(side) > 1 for side in (x, y) if not symbolic(side)):
        call.fix(f"the constant of {call.operator.code}")
    if call.operator.code == "SELECT" and len(which.shape) == 1 < len(x.shape):
        which = call.function(tf.reshape, which, [-1, *[1] * (len(x.shape) - 1)])
    return call.function(tf.where, which, x, y)


def top(call: Call) -> Any:
    """The largest values and where they are."""
    return list(call.function(keras.tensorflow().math.top_k, call.input(0), call.integer(1)))
