"""Fixes the shapes of a model's inputs: from its file, and from what the user says."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from edgepack import plugins
from edgepack.errors import ModelError
from edgepack.tflite.admission import MOST_VALUES

Shape = Sequence[int | str]
"""A dimension that is a text is open; the text is its name in the file."""

OPTION = "--input-shape"
BATCH = "export it with a first dimension of 1, which is the batch"


def fixed(
    inputs: Mapping[str, Shape], given: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shape of every input; an open first dimension, which is the batch, becomes 1.

    Args:
        inputs: shapes in the file by name.
        given: shapes from the user, in the layout of the file.

    Raises:
        ModelError: if a given shape does not fit, or a dimension is open still.
    """
    for name, shape in given.items():
        _check(name, shape, inputs)
    found = {name: given.get(name) or _one_sample(shape) for name, shape in inputs.items()}
    _check_closed(found, inputs)
    shapes = {name: tuple(int(size) for size in shape) for name, shape in found.items()}
    for name, sizes in shapes.items():
        _check_size(name, sizes)
    return shapes


def written(shape: Shape) -> str:
    """A shape as it is shown, with the names of its open dimensions."""
    return f"[{', '.join(str(size) for size in shape)}]"


def _one_sample(shape: Shape) -> Shape:
    return [1, *shape[1:]] if shape and isinstance(shape[0], str) else shape


def _check(name: str, shape: tuple[int, ...], inputs: Mapping[str, Shape]) -> None:
    if name not in inputs:
        raise ModelError(
            f"the model has no input {name!r}, for which {OPTION} gives a shape",
            plugins.suggest(name, list(inputs)),
        )
    own = inputs[name]
    hint = f"the file says {written(own)}; {_example({name: own})}"
    if len(shape) != len(own):
        count = f"{len(shape)} dimensions instead of {len(own)}"
        raise ModelError(f"{OPTION} gives the input {name!r} {count}", hint)
    if any(size < 1 for size in shape):
        raise ModelError(f"{OPTION} gives the input {name!r} the shape {list(shape)}", hint)
    for number, (size, stated) in enumerate(zip(shape, own, strict=True)):
        if not isinstance(stated, str) and size != stated:
            raise ModelError(
                f"dimension {number} of the input {name!r} is {stated} in the file, and"
                f" {OPTION} says {size}",
                hint,
            )


def _check_closed(found: Mapping[str, Shape], inputs: Mapping[str, Shape]) -> None:
    still = {n: s for n, s in found.items() if any(isinstance(size, str) for size in s)}
    if not still:
        return
    shown = ", ".join(f"{name} {written(shape)}" for name, shape in inputs.items())
    raise ModelError(f"the model leaves sizes of its inputs open: {shown}", _example(still))


def _example(inputs: Mapping[str, Shape]) -> str:
    """The options to type, with the names of open dimensions where numbers belong."""
    options = [
        f"{OPTION} {shlex.quote(name + ':' + ','.join(map(_word, _one_sample(shape))))}"
        for name, shape in inputs.items()
    ]
    words = {_word(s) for shape in inputs.values() for s in _one_sample(shape) if _is_open(s)}
    ending = f" with numbers for {', '.join(sorted(words))}" if words else ""
    return f"type: {' '.join(options)}{ending}"


def _is_open(size: int | str) -> bool:
    return isinstance(size, str)


def _word(size: int | str) -> str:
    return "SIZE" if size == "?" else str(size)


def _check_size(name: str, shape: tuple[int, ...]) -> None:
    if not shape:
        raise ModelError(f"the input {name!r} is a single number", BATCH)
    values = math.prod(shape)
    if not 0 < values <= MOST_VALUES:
        raise ModelError(
            f"the input {name!r} has {values:,} values: its shape is {list(shape)}",
            f"give it a shape of at most {MOST_VALUES:,} values",
        )
