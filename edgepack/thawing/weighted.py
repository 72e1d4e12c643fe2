"""Operators with weights: as the layers of Keras that are trained, pruned and clustered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.network.operations import symbolic
from edgepack.tflite.weight_layout import LAYOUTS
from edgepack.thawing import affine
from edgepack.thawing.activations import activate, word_of
from edgepack.thawing.call import Builder, Call, UnsuitableError
from edgepack.thawing.shapes import reshaped


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        "BATCH_MATMUL": batch_matmul,
        "CONV_2D": convolution,
        "DEPTHWISE_CONV_2D": depthwise,
        "EMBEDDING_LOOKUP": lambda call: lookup(call, call.input(1), call.input(0)),
        "FULLY_CONNECTED": dense,
        "GATHER": gather,
        "PRELU": prelu,
        "TRANSPOSE_CONV": transposed,
    }


def learnt(
    call: Call, kind: str, x: Any, kernel: NDArray[Any], bias: Any, axis: int, **config: Any
) -> Any:
    """The output of a layer with a kernel and a bias; one for all calls with the same of both.

    What follows and only scales or shifts channels is taken in.

    Args:
        call: the operator.
        kind: the layer's class.
        x: what it is called on.
        kernel: as Keras lays it out.
        bias: of its channels; None: none.
        axis: of the kernel that counts the channels; of a depthwise one the last two do.
        config: its settings.
    """
    if not symbolic(x):
        raise UnsuitableError("it computes with constants only")
    count = int(np.prod(kernel.shape[-2:])) if kind == "DepthwiseConv2D" else kernel.shape[axis]
    found, shared = affine.Affine(None, bias), _is_shared(call)
    if not shared:
        found = affine.followers(call, count, found)
    if found.scale is not None:
        kernel = kernel * _along(found.scale, kernel, kind, axis)
    # A layer that several operators share leaves to each its own activation.
    word = "" if shared else word_of(call)
    config |= {"use_bias": found.offset is not None, "activation": word or "linear"}
    weights = [kernel] if found.offset is None else [kernel, found.offset]
    y = _shared(call, kind, x, weights, config)
    return y if word else activate(call, y)


def _along(scale: NDArray[Any], kernel: NDArray[Any], kind: str, axis: int) -> NDArray[Any]:
    if kind == "DepthwiseConv2D":
        return scale.reshape(kernel.shape[-2:])
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return scale.reshape(shape)


def _shared(call: Call, kind: str, x: Any, weights: Sequence[Any], config: dict[str, Any]) -> Any:
    """The output of a layer; operators that are equal in all but their input share it."""
    scene = call.scene
    own = tuple(call.operator.inputs[i] for i in _weights(call))
    key = (kind, own, repr(sorted(config.items())))
    if not _is_shared(call) or key not in scene.layers:
        if any(other[1][0] == own[0] for other in scene.layers):
            scene.parted.append(call.shown)
        scene.layers[key] = call.make(kind, **config)
        y = scene.outputs[key, id(x)] = scene.layers[key](x)
        scene.layers[key].set_weights(weights)
        return y
    if (key, id(x)) not in scene.outputs:
        scene.outputs[key, id(x)] = scene.layers[key](x)
    return scene.outputs[key, id(x)]


def _weights(call: Call) -> list[int]:
    """The positions of an operator's weights and bias."""
    layout = LAYOUTS[call.operator.code]
    return [i for i in (*layout.weights, *layout.others) if i < len(call.inputs)]


def _is_shared(call: Call) -> bool:
    """Whether others read the same kernel."""
    return call.scene.is_shared(call.operator.inputs[_weights(call)[0]])


def _bias(call: Call, position: int) -> Any:
    """A bias, or None where it is left out."""
    left_out = len(call.inputs) <= position or call.inputs[position] is None
    return None if left_out else call.constant(position)


def _strides(call: Call) -> dict[str, Any]:
    names = ("stride_h", "stride_w")
    return {
        "strides": tuple(int(call.option(name, 1)) for name in names),
        "padding": str(call.option("padding", "SAME")).lower(),
    }


def _dilation(call: Call) -> tuple[int, int]:
    return int(call.option("dilation_h_factor", 1)), int(call.option("dilation_w_factor", 1))


def convolution(call: Call) -> Any:
    """CONV_2D; fewer input channels in the kernel than in the input make groups."""
    x, config = call.input(0), {**_strides(call), "dilation_rate": _dilation(call)}
    kernel = call.constant(1).transpose(1, 2, 3, 0)
    groups, rest = divmod(int(x.shape[-1]), kernel.shape[2])
    if rest:
        raise UnsuitableError(f"{x.shape[-1]} channels do not fit its kernel {kernel.shape}")
    if groups == 1 and _is_read_differently(call):
        return _fixed_convolution(call, x, kernel, config)
    config |= {"filters": kernel.shape[3], "kernel_size": kernel.shape[:2], "groups": groups}
    return learnt(call, "Conv2D", x, kernel, _bias(call, 2), 3, **config)


def _is_read_differently(call: Call) -> bool:
    """Whether others read the same kernel with another stride, padding or dilation."""
    readers = call.scene.readers[call.operator.inputs[1]]
    names = [name for name in call.options if name.startswith(("stride", "padding", "dilation"))]
    return len({(o.code, *map(o.options.get, names)) for o in readers}) > 1


def _fixed_convolution(call: Call, x: Any, kernel: NDArray[Any], config: Mapping[str, Any]) -> Any:
    """A convolution by a constant, which no layer of Keras shares with others as the source does.

    A copy for each would multiply the size of the model; such are transforms of signals, which are
    not learnt.
    """
    tf, bias = keras.tensorflow(), _bias(call, 2)
    ways = {"padding": config["padding"].upper(), "dilations": list(config["dilation_rate"])}
    y = call.function(tf.nn.conv2d, x, kernel, strides=list(config["strides"]), **ways)
    call.fix("the kernel")
    if bias is not None and np.any(bias):
        y = call.function(tf.nn.bias_add, y, bias)
    return activate(call, y)


def depthwise(call: Call) -> Any:
    """DEPTHWISE_CONV_2D; where one stride has nothing to step over, it is as long as the other."""
    x, config = call.input(0), {**_strides(call), "dilation_rate": _dilation(call)}
    _, height, width, total = call.constant(1).shape
    multiplier = total // max(1, int(x.shape[-1]))
    kernel = call.constant(1).reshape(height, width, int(x.shape[-1]), multiplier)
    high, wide = config["strides"]
    if high != wide and 1 in call.output().shape[1:3]:
        high = wide = high if call.output().shape[2] == 1 else wide
    if high != wide:
        raise UnsuitableError(f"its strides {high} and {wide} differ")
    config["strides"] = (high, wide)
    config |= {"kernel_size": (height, width), "depth_multiplier": multiplier}
    return learnt(call, "DepthwiseConv2D", x, kernel, _bias(call, 2), 3, **config)


def transposed(call: Call) -> Any:
    """TRANSPOSE_CONV; its output's size says how much is padded."""
    x, config = call.input(2), _strides(call)
    kernel = call.constant(1).transpose(1, 2, 0, 3)
    wanted = [int(n) for n in call.constant(0)[1:3]]
    sizes = call.sizes(2)[1:3]
    extra = [
        _output_padding(*numbers, config["padding"])
        for numbers in zip(sizes, kernel.shape[:2], config["strides"], wanted, strict=True)
    ]
    if any(n is not None for n in extra):
        config["output_padding"] = tuple(
            _missing(*numbers, config["padding"])
            for numbers in zip(sizes, kernel.shape[:2], config["strides"], wanted, strict=True)
        )
    config |= {"filters": kernel.shape[2], "kernel_size": kernel.shape[:2]}
    return learnt(call, "Conv2DTranspose", x, kernel, _bias(call, 3), 2, **config)


def _output_padding(size: int, kernel: int, stride: int, wanted: int, padding: str) -> int | None:
    """None where the output is as long as Keras makes it by itself."""
    usual = size * stride + (max(kernel - stride, 0) if padding == "valid" else 0)
    return None if usual == wanted else _missing(size, kernel, stride, wanted, padding)


def _missing(size: int, kernel: int, stride: int, wanted: int, padding: str) -> int:
    inside = 2 * (kernel // 2) if padding == "same" else 0
    missing = wanted - ((size - 1) * stride + kernel - inside)
    if not 0 <= missing < stride:
        raise UnsuitableError(f"{size} values cannot become {wanted}")
    return missing


def dense(call: Call) -> Any:
    """FULLY_CONNECTED; without ``keep_num_dims`` it sees rows of as many values as it takes."""
    if call.option("weights_format", "DEFAULT") != "DEFAULT":
        raise UnsuitableError("its weights are shuffled")
    x, weights = call.input(0), call.input(1)
    wide, sizes = int(weights.shape[-1]), call.sizes(0)
    if sizes[-1] != wide or (len(sizes) != 2 and not call.option("keep_num_dims", False)):
        x = reshaped(call, x, sizes, [-1, wide])
    if isinstance(weights, np.ndarray):
        return learnt(call, "Dense", x, weights.T, _bias(call, 2), 1, units=weights.shape[0])
    tf, bias = keras.tensorflow(), _bias(call, 2)
    y = call.function(tf.matmul, x, weights, transpose_b=True)
    if bias is not None:
        call.fix("the bias")
        y = call.function(tf.add, y, bias)
    return activate(call, y)


def batch_matmul(call: Call) -> Any:
    """A product of matrices; with a constant at its right a dense layer."""
    x, y = call.input(0), call.input(1)
    turned = [bool(call.option(f"adj_{side}", False)) for side in "xy"]
    alone = isinstance(y, np.ndarray) and 2 <= y.ndim <= len(x.shape)
    if alone and symbolic(x) and not turned[0] and y.size == math.prod(y.shape[-2:]):
        matrix = y.reshape(y.shape[-2:])
        kernel = matrix.T if turned[1] else matrix
        return learnt(call, "Dense", x, kernel, None, 1, units=kernel.shape[1])
    for side in (x, y):
        if isinstance(side, np.ndarray):
            call.fix("a constant matrix")
    tf = keras.tensorflow()
    return call.function(tf.matmul, x, y, transpose_a=turned[0], transpose_b=turned[1])


def gather(call: Call) -> Any:
    """Slices by their numbers; out of a constant table as an embedding."""
    table, numbers = call.input(0), call.input(1)
    axis, batch_dims = int(call.option("axis")), int(call.option("batch_dims"))
    if isinstance(table, np.ndarray) and symbolic(numbers):
        if axis == 0 and batch_dims == 0:
            return lookup(call, table, numbers)
        call.fix("a constant table")
    tf = keras.tensorflow()
    return call.function(tf.gather, table, numbers, axis=axis, batch_dims=batch_dims)


def lookup(call: Call, table: Any, numbers: Any) -> Any:
    """Rows of a table: of real numbers a layer, else a function."""
    real = isinstance(table, np.ndarray) and table.dtype.kind == "f" and table.ndim == 2
    if not (real and symbolic(numbers)):
        if symbolic(numbers) and not symbolic(table):
            call.fix("a constant table")
        return call.function(keras.tensorflow().gather, table, numbers)
    rows, width = table.shape
    return _shared(call, "Embedding", numbers, [table], {"input_dim": rows, "output_dim": width})


def prelu(call: Call) -> Any:
    """A slope for what is negative, of each value or shared along axes."""
    x, slopes = call.input(0), call.constant(1)
    sizes = call.sizes(0)[1:]
    kept = slopes.shape[1:] if slopes.ndim > len(sizes) else slopes.shape
    shape = (1,) * (len(sizes) - len(kept)) + tuple(kept)
    shared = [i + 1 for i, (a, b) in enumerate(zip(shape, sizes, strict=True)) if a == 1 != b]
    return call.layer("PReLU", x, [slopes.reshape(shape)], shared_axes=shared or None)
