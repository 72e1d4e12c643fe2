"""Proves that a bridged model computes what the original does, or names the layer that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.network.graph import Visit
from edgepack.network.walk import inputs_of, is_sequential, walk

LIMIT = {"float32": 1e-4, "float64": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""The largest difference allowed, as a part of the largest output (at least 1), by the precision
that the original computes in."""

OPEN_SIZES = (32, 96, 224)
"""Tried in turn for dimensions that a model leaves open."""

MOVES = ("Reshape", "Flatten", "Permute", "RepeatVector", "Identity", "Masking", "SlicingOpLambda")
"""Layers that hand values on as they are."""

MOVING = ("cast", "reshape", "expand_dims", "squeeze", "identity", "transpose", "stack", "concat")
"""TensorFlow functions that hand values on as they are."""


def check_bridge(original: Any, bridged: Any, visits: Sequence[Visit] = ()) -> None:
    """Compare all outputs of two models on the same random inputs.

    Args:
        original: a Keras 2 or Keras 3 model.
        bridged: the flat tf_keras model made of it.
        visits: what became of each call of the original; without them no layer is named.

    Raises:
        ModelError: if an output differs by more than `LIMIT`; the first layer that does is named.
    """
    inputs, wanted = _run_original(original, bridged)
    got = _run(bridged, inputs)
    limit = LIMIT.get(_precision(original), LIMIT["float32"])
    names = bridged.output_names
    for name, a, b in zip(names, wanted, got, strict=True):
        if difference(a, b) > limit:
            raise _named(original, bridged, visits, inputs, limit) or _different(
                f"output {name!r}", a, b
            )


def check_storable(model: Any, custom: Mapping[str, Any]) -> None:
    """Refuse TensorFlow functions and Lambda layers whose calls cannot be written down and read.

    Raises:
        ModelError: with what tf_keras says of the layer.
    """
    kinds = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "Lambda")
    if not any(type(layer).__name__ in kinds for layer in model.layers):
        return
    try:
        with keras.tf_keras().utils.custom_object_scope(dict(custom)), keras.trusted():
            keras.tf_keras().models.model_from_json(json.dumps(keras.model_config(model)))
    except (
        AttributeError,
        KeyError,
        NameError,
        NotImplementedError,
        TypeError,
        ValueError,
    ) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"the model {model.name!r} cannot be stored as layers: {' '.join(lines[:2])}",
            "use a layer in place of the function, or write one of your own and give its file by"
            " --custom FILE.py",
        ) from error


def difference(wanted: Any, got: Any) -> float:
    """The largest absolute difference over the largest absolute value (at least 1).

    Values that are not finite must be so in both; other shapes or places make it infinite.
    """
    a, b = np.asarray(wanted, np.float64), np.asarray(got, np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | np.isnan(a), 0.0, np.abs(a - b))
    scale = np.abs(a[np.isfinite(a)]).max(initial=1.0)
    return float(gap.max(initial=0.0) / scale)


def sample_inputs(bridged: Any, open_size: int = OPEN_SIZES[0], seed: int = 0) -> list[Any]:
    """Random inputs for a flat tf_keras model, valid for what they feed.

    Args:
        bridged: the model.
        open_size: in place of dimensions that it leaves open.
        seed: of the values.
    """
    random = np.random.default_rng(seed)
    samples = []
    for tensor, (_, shape, dtype) in zip(bridged.inputs, inputs_of(bridged), strict=True):
        full = (shape[0] or 2, *(d or open_size for d in shape[1:]))
        top = _categories(tensor)
        if top is not None:
            samples.append(random.integers(0, top, full).astype(dtype))
        elif dtype.startswith(("int", "uint", "bool")):
            samples.append(random.integers(0, 256 if dtype == "uint8" else 2, full).astype(dtype))
        else:
            samples.append((2 * random.standard_normal(full)).astype(dtype))
    return [keras.tensorflow().constant(s) for s in samples]


def _categories(tensor: Any) -> int | None:
    """How many categories an Embedding takes that this tensor reaches unchanged; None: none."""
    sizes, queue = [], [tensor]
    while queue:
        current = queue.pop()
        for node in _readers(current):
            kind = type(node.layer).__name__
            if kind == "Embedding":
                sizes.append(int(node.layer.input_dim))
            elif kind in MOVES or _moves(node.layer):
                queue.extend(keras.tensorflow().nest.flatten(node.outputs))
    return min(sizes, default=None)


def _readers(tensor: Any) -> Iterator[Any]:
    for node in tensor._keras_history.layer._outbound_nodes:
        if any(t is tensor for t in node.keras_inputs):
            yield node


def _moves(layer: Any) -> bool:
    return type(layer).__name__ == "TFOpLambda" and str(layer.symbol).split(".")[-1] in MOVING


def _run_original(original: Any, bridged: Any) -> tuple[list[Any], list[Any]]:
    """Inputs and the original's outputs; open dimensions grow until the model takes them."""
    tf = keras.tensorflow()
    fault: Exception | None = None
    for size in OPEN_SIZES:
        inputs = sample_inputs(bridged, size)
        try:
            return inputs, _run(original, inputs)
        except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
            fault = error
        if all(None not in shape[1:] for _, shape, _ in inputs_of(bridged)):
            break
    raise ModelError(
        f"the model {original.name!r} cannot run: {str(fault).strip().partition(chr(10))[0]}",
        "call it on a sample in Python to see the whole error",
    ) from fault


def _run(model: Any, inputs: list[Any]) -> list[Any]:
    """The flat outputs of one direct call, which for one batch is faster than ``predict``."""
    nest = keras.tensorflow().nest
    single = is_sequential(model) or not isinstance(model.input, dict | list | tuple)
    given = inputs[0] if single else nest.pack_sequence_as(model.input, inputs)
    return [np.asarray(y) for y in nest.flatten(model(given, training=False))]


def _precision(model: Any) -> str:
    found = [str(getattr(layer, "compute_dtype", "float32")) for layer in model.layers]
    return max(found, key=lambda name: LIMIT.get(name, 0.0), default="float32")


def _named(
    original: Any, bridged: Any, visits: Sequence[Visit], inputs: list[Any], limit: float
) -> ModelError | None:
    """Run both models call by call and say where they first part."""
    trace: list[Any] = []

    def apply(layer: Any, _outer: str, args: Any, kwargs: Any) -> Any:
        trace.append(layer(*args, **kwargs))
        return trace[-1]

    walk(original, inputs, apply)
    nest = keras.tensorflow().nest
    inner = keras.tf_keras().Model(bridged.inputs, [visit.outputs for visit in visits])
    for visit, wanted, got in zip(visits, trace, _grouped(inner(inputs), visits), strict=True):
        for a, b in zip(nest.flatten(wanted), got, strict=True):
            if difference(a, b) > limit:
                kind = type(visit.layer).__name__
                return _different(f"layer {visit.name!r} ({kind})", np.asarray(a), np.asarray(b))
    return None


def _grouped(values: Any, visits: Sequence[Visit]) -> list[list[Any]]:
    flat = iter(keras.tensorflow().nest.flatten(values))
    return [[next(flat) for _ in visit.outputs] for visit in visits]


def _different(what: str, wanted: Any, got: Any) -> ModelError:
    if wanted.shape != got.shape:
        how = f"its output has the shape {got.shape} instead of {wanted.shape}"
    else:
        gap = np.abs(np.asarray(wanted, np.float64) - got).max()
        how = f"its output differs by {gap:.3g} where it reaches {np.abs(wanted).max():.3g}"
    return ModelError(
        f"the bridge changes {what}: {how}",
        "please report this with the layer's settings; a class of the same name for tf_keras,"
        " given by --custom FILE.py, takes its place until then",
    )
