"""What Keras 3 operations that are not layers become: one table, by the operation's class name."""

from __future__ import annotations

import inspect
from typing import Any

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.network import activations, operations
from edgepack.network.operations import Function


def function_of(operation: Any) -> Function:
    """The function on tf_keras tensors that does what a Keras 3 operation does.

    Raises:
        ModelError: for an operation that is not in the table.
    """
    kind = type(operation).__name__
    function = _table().get(kind)
    if function is None:
        raise ModelError(
            f"the operation {operation.name!r} ({kind}) has no counterpart in tf_keras",
            "use a layer in its place, or one of your own, whose file you give by --custom FILE.py",
        )
    settings = _settings(operation, function)

    def call(*args: Any, **kwargs: Any) -> Any:
        like = next(
            (a for a in keras.tensorflow().nest.flatten(args) if operations.symbolic(a)), None
        )
        constants = keras.tensorflow().nest.map_structure(
            lambda a: operations.constant(a, like), list(args)
        )
        return function(*constants, **kwargs, **settings)

    return call


def _settings(operation: Any, function: Function) -> dict[str, Any]:
    """Those attributes of the operation that the function takes by keyword."""
    names = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    return {name: getattr(operation, name) for name in names if hasattr(operation, name)}


def _table() -> dict[str, Function]:
    return _arithmetic() | _functions() | _shapes() | _reductions() | _activations()


def _arithmetic() -> dict[str, Function]:
    tf = keras.tensorflow()
    return {
        "Add": operations.merge("Add", tf.add),
        "Divide": tf.truediv,
        "Equal": tf.equal,
        "FloorDivide": tf.math.floordiv,
        "Greater": tf.greater,
        "GreaterEqual": tf.greater_equal,
        "Less": tf.less,
        "LessEqual": tf.less_equal,
        "LogicalAnd": tf.logical_and,
        "LogicalNot": tf.logical_not,
        "LogicalOr": tf.logical_or,
        "Matmul": tf.matmul,
        "Maximum": operations.merge("Maximum", tf.maximum),
        "Minimum": operations.merge("Minimum", tf.minimum),
        "Mod": tf.math.floormod,
        "Multiply": operations.merge("Multiply", tf.multiply),
        "NotEqual": tf.not_equal,
        "Power": tf.pow,
        "Subtract": operations.merge("Subtract", tf.subtract),
        "TrueDivide": tf.truediv,
        "Where": tf.where,
    }


def _functions() -> dict[str, Function]:
    tf = keras.tensorflow()
    return {
        "Absolute": tf.abs,
        "Ceil": tf.math.ceil,
        "Clip": operations.clip,
        "Copy": tf.identity,
        "Cos": tf.cos,
        "Exp": tf.exp,
        "Expm1": tf.math.expm1,
        "Floor": tf.floor,
        "Log": tf.math.log,
        "Log1p": tf.math.log1p,
        "Negative": tf.negative,
        "Normalize": operations.normalize,
        "OnesLike": tf.ones_like,
        "Reciprocal": tf.math.reciprocal,
        "Round": tf.round,
        "Rsqrt": tf.math.rsqrt,
        "Sign": tf.sign,
        "Sin": tf.sin,
        "Sqrt": tf.sqrt,
        "Square": tf.square,
        "StopGradient": tf.stop_gradient,
        "Tanh": operations.activation("tanh"),
        "ZerosLike": tf.zeros_like,
    }


def _shapes() -> dict[str, Function]:
    tf = keras.tensorflow()
    return {
        "BroadcastTo": lambda x, *, shape: tf.broadcast_to(x, list(shape)),
        "Cast": operations.cast,
        "Concatenate": operations.concatenate,
        "DepthToSpace": lambda x, *, block_size: tf.nn.depth_to_space(x, block_size),
        "ExpandDims": lambda x, *, axis: tf.expand_dims(x, axis),
        "Flip": operations.flip,
        "GetItem": operations.getitem,
        "Moveaxis": operations.moveaxis,
        "OneHot": operations.one_hot,
        "Pad": operations.pad,
        "Repeat": lambda x, *, repeats, axis: tf.repeat(x, repeats, axis),
        "Reshape": operations.reshape,
        "Resize": operations.resize,
        "SpaceToDepth": lambda x, *, block_size: tf.nn.space_to_depth(x, block_size),
        "Split": operations.split,
        "Squeeze": lambda x, *, axis: tf.squeeze(x, axis),
        "Stack": lambda x, *, axis: tf.stack(list(x), axis),
        "Swapaxes": operations.swapaxes,
        "Take": operations.take,
        "Tile": lambda x, *, repeats: tf.tile(x, list(repeats)),
        "Transpose": operations.transpose,
        "Unstack": lambda x, *, num, axis: tf.unstack(x, num, axis),
    }


def _reductions() -> dict[str, Function]:
    tf = keras.tensorflow()
    return {
        "All": operations.reduce(tf.reduce_all),
        "Amax": operations.reduce(tf.reduce_max),
        "Amin": operations.reduce(tf.reduce_min),
        "Any": operations.reduce(tf.reduce_any),
        "Argmax": operations.argmax,
        "Cumsum": lambda x, *, axis: tf.cumsum(x, axis),
        "Logsumexp": operations.reduce(tf.reduce_logsumexp),
        "Max": operations.reduce(tf.reduce_max),
        "Mean": operations.reduce(tf.reduce_mean),
        "Min": operations.reduce(tf.reduce_min),
        "Prod": operations.reduce(tf.reduce_prod),
        "Std": operations.reduce(tf.math.reduce_std),
        "Sum": operations.reduce(tf.reduce_sum),
        "Var": operations.reduce(tf.math.reduce_variance),
    }


def _activations() -> dict[str, Function]:
    tf = keras.tensorflow()
    plain = ("Relu", "Selu", "Sigmoid", "Softplus")
    known = {name: operations.activation(name.lower()) for name in plain}
    alike = ("HardSigmoid", "HardSilu", "HardTanh", "LogSigmoid", "Relu6", "Softsign", "SparsePlus")
    return (
        known
        | {name: _as_operation(name) for name in (*alike, "SparseSigmoid", "TanhShrink")}
        | {
            "Celu": operations.celu,
            "Elu": operations.elu,
            "Gelu": operations.gelu,
            "Glu": lambda x, *, axis: activations.glu(x, axis),
            "HardShrink": lambda x, *, threshold: activations.hard_shrink(x, threshold),
            "LeakyRelu": lambda x, *, negative_slope: activations.leaky_relu(x, negative_slope),
            "LogSoftmax": lambda x, *, axis: tf.nn.log_softmax(x, axis),
            "Mish": operations.activation("mish"),
            "ReLU": operations.relu,
            "Silu": operations.activation("swish"),
            "SoftShrink": lambda x, *, threshold: activations.soft_shrink(x, threshold),
            "Softmax": operations.softmax,
            "Sparsemax": lambda x, *, axis: activations.sparsemax(x, axis),
            "Squareplus": lambda x, *, b: activations.squareplus(x, b),
            "Threshold": lambda x, *, threshold, default_value: activations.threshold(
                x, threshold, default_value
            ),
        }
    )


def _as_operation(kind: str) -> Function:
    """The activation whose function is named as the operation: HardSilu is hard_silu."""
    word = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind).lstrip("_")
    function = activations.other(word)
    if function is None:
        raise KeyError(kind)
    return function
