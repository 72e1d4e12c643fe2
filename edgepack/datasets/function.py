"""A function in the user's own Python file, which returns arrays or a ``tf.data.Dataset``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from edgepack.data import arrays
from edgepack.data import fingerprint as sha256
from edgepack.data.dataset import Dataset
from edgepack.errors import DataError
from edgepack.userfile import load_function

FORM = "FILE.py:function"


def matches(spec: str) -> bool:
    """Whether the user means this source."""
    return spec.endswith(".py") or ".py:" in spec


def offers(spec: str) -> None:  # noqa: ARG001
    """Nothing is known before the function has run."""
    return


def fingerprint(spec: str) -> None:  # noqa: ARG001
    """Nothing is known before the function has run: it may read anything."""
    return


def load(spec: str) -> Dataset:
    """Call the function without arguments, and take what it returns.

    One of: ``x``; ``(x, y)``; ``((x_train, y_train), (x_test, y_test))``; a mapping with the keys
    of an ``.npz`` file; a `Dataset`; a ``tf.data.Dataset`` of ``x`` or ``(x, y)``, batched or not.
    An ``x`` or ``y`` that is a mapping names several inputs or outputs.

    Raises:
        DataError: if the function is missing, fails (the line is told), or returns anything else.
    """
    result = load_function(spec, DataError)()
    if _is_tf_data(result):
        result = _collect(spec, result)
    if isinstance(result, Dataset):
        dataset = replace(result, source=spec)
    else:
        dataset = arrays.to_dataset(spec, _flatten(_by_key(spec, result)))
    return replace(dataset, fingerprint=sha256.of_dataset(dataset))


def _by_key(spec: str, result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    if hasattr(result, "__array__"):
        return {"x": result}
    if isinstance(result, tuple) and len(result) == 2:
        if all(isinstance(part, tuple) and len(part) == 2 for part in result):
            (x_train, y_train), (x_test, y_test) = result
            return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        return {"x": result[0], "y": result[1]}
    raise DataError(
        f"{spec} returned a {type(result).__name__}",
        "return (x, y), a dict with the keys of an .npz file, or a tf.data.Dataset",
    )


def _flatten(by_key: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings inside a mapping, ``x: {left, right}``, by keys such as ``x.left``."""
    flat: dict[str, Any] = {}
    for key, value in by_key.items():
        inner = value.items() if isinstance(value, Mapping) else None
        flat |= {f"{key}.{name}": array for name, array in inner} if inner else {key: value}
    return flat


def _is_tf_data(result: Any) -> bool:
    """Only a file that has imported TensorFlow can return its data."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(result, tensorflow.data.Dataset)


def _collect(spec: str, stream: Any) -> dict[str, Any]:
    """All elements of a ``tf.data.Dataset`` as arrays by key."""
    import numpy as np

    tensorflow = sys.modules["tensorflow"]
    if stream.cardinality() == tensorflow.data.INFINITE_CARDINALITY:
        raise DataError(f"{spec} returned endless data", "leave out repeat(), or add take(n)")
    shapes = [part.shape for part in tensorflow.nest.flatten(stream.element_spec)]
    join = np.concatenate if _is_batched(shapes) else np.stack
    columns: dict[str, list[Any]] = {}
    for element in _elements(spec, stream):
        for key, value in element.items():
            columns.setdefault(key, []).append(value)
    try:
        return {key: join(values) for key, values in columns.items()}
    except ValueError as error:
        raise DataError(
            f"{spec} returned samples of different shapes: {error}", "pad them to one shape"
        ) from error


def _is_batched(shapes: list[Any]) -> bool:
    """Batches are known by their first dimension, which is open as the last may be smaller."""
    return all(shape.rank and shape[0] is None for shape in shapes)


def _elements(spec: str, stream: Any) -> Iterator[dict[str, Any]]:
    try:
        for element in stream.as_numpy_iterator():
            pair = element if isinstance(element, tuple) else (element,)
            if len(pair) > 2:
                hint = "map it to (x, y), or to x alone"
                raise DataError(f"{spec} returned elements of {len(pair)} parts", hint)
            yield _flatten(dict(zip(("x", "y"), pair, strict=False)))
    except sys.modules["tensorflow"].errors.OpError as error:
        reason = str(error.message).strip().split("\n")[-1]
        raise DataError(
            f"{spec} returned data that fails when it is read: {reason}",
            "iterate over it by itself",
        ) from error
