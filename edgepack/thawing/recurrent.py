"""The recurrent operator that is a layer of Keras: an LSTM without peepholes and projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack import keras
from edgepack.thawing.call import Builder, Call, UnsuitableError

STATES = (18, 19)
"""The inputs that keep the state between runs; here each sample starts with zeros."""


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {"UNIDIRECTIONAL_SEQUENCE_LSTM": lstm}


def lstm(call: Call) -> Any:
    """UNIDIRECTIONAL_SEQUENCE_LSTM; its clipping of cells is beyond what a trained one reaches."""
    unusual = [i for i, x in enumerate(call.inputs) if x is not None and (8 < i < 12 or i > 19)]
    if unusual or (len(call.inputs) > 16 and call.inputs[16] is not None):
        raise UnsuitableError("it has peepholes, a projection or a normalization")
    if call.option("fused_activation_function", "NONE") != "TANH":
        raise UnsuitableError("its activation is not tanh")
    tf, x = keras.tensorflow(), call.input(0)
    turned = bool(call.option("time_major", False))
    x = call.function(tf.transpose, x, [1, 0, 2]) if turned else x
    weights = [_gates(call, first) for first in (1, 5)]
    bias = np.concatenate([call.constant(i) for i in range(12, 16)])
    units = weights[1].shape[0]
    y = call.layer("LSTM", x, [*weights, bias], units=units, return_sequences=True)
    return call.function(tf.transpose, y, [1, 0, 2]) if turned else y


def _gates(call: Call, first: int) -> NDArray[Any]:
    """Four matrices, of input, forget, cell and output, as Keras lays them out."""
    return np.concatenate([call.constant(first + i).T for i in range(4)], axis=1)
