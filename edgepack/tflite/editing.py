"""Replaces the weights of a float .tflite by changed values; all else stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepack.errors import ModelError
from edgepack.tflite import counting, flatbytes
from edgepack.tflite.counting import Place
from edgepack.tflite.subgraph import graph_of

FLOATS = ("float32", "float16")
"""The dtypes of weights that can be edited."""

Change = Callable[[Place, NDArray[Any]], NDArray[Any] | None]
"""Takes where a weight lies and its values, and gives new ones of the same shape, or None."""


def edit_weights(data: bytes, change: Change) -> bytes:
    """A .tflite with some weights changed, in the dtype that they are stored in.

    Weights have the names that `edgepack.audit` gives them. Tensors, operators and names keep their
    places. A constant that several operators read is changed for all of them at once; of tensors
    that merely share their bytes, each is changed by itself, and what stays keeps the old bytes.
    The same bytes in give the same bytes out.

    Args:
        data: the flatbuffer.
        change: called once for each weight of `FLOATS`.

    Raises:
        ModelError: if the flatbuffer is broken, or stores a weight sparsely.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    changed: dict[tuple[int, int], bytes] = {}
    for place in counting.places(graph_of(model)):
        if place.tensor.dtype not in FLOATS:
            continue
        values = _values(place)
        new = change(place, values)
        if new is not None:
            changed[place.where, place.tensor.index] = _stored(place, values, new)
    write(model, changed)
    return flatbytes.pack(model)


def _values(place: Place) -> NDArray[Any]:
    if place.tensor.sparsity is not None:
        raise ModelError(
            f"{place.name} is stored sparsely, which cannot be edited",
            "give the file from before its sparse encoding",
        )
    return place.weight().values


def _stored(place: Place, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    if new.shape != old.shape:
        raise ValueError(f"{place.name} has the shape {old.shape}, not {new.shape}")
    return new.astype(np.dtype(place.tensor.dtype).newbyteorder("<")).tobytes()


def write(model: Any, changed: dict[tuple[int, int], bytes]) -> None:
    """Give each tensor its bytes; where others keep a buffer, changed ones get one of their own.

    Args:
        model: what `edgepack.tflite.flatbytes.unpack` gave.
        changed: bytes by the number of the subgraph and of the tensor.
    """
    tensors = {(i, j): t for i, g in enumerate(model.subgraphs) for j, t in enumerate(g.tensors)}
    taken = {user.buffer for user in model.metadata or ()}
    taken |= {tensor.buffer for key, tensor in tensors.items() if key not in changed}
    homes: dict[tuple[int, bytes], int] = {}
    for key, wanted in changed.items():
        old = tensors[key].buffer
        if (old, wanted) not in homes:
            homes[old, wanted] = _place(model, old, wanted, fresh=old in taken)
            taken.add(old)
        tensors[key].buffer = homes[old, wanted]


def _place(model: Any, old: int, wanted: bytes, *, fresh: bool) -> int:
    """The index of the buffer that takes the bytes: the old one, or a fresh one."""
    if fresh:
        model.buffers.append(schema.BufferT())
    index = len(model.buffers) - 1 if fresh else old
    model.buffers[index].data = np.frombuffer(wanted, np.uint8)
    return index
