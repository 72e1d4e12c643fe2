"""Makes a tf_keras model quantization-aware with TF-MOT, clustered kernels by tensor."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.folding import foldable
from edgepack.network.graph import copy_layer, rebuild
from edgepack.network.kernels import QUANTIZERS, kernels
from edgepack.step import Given
from edgepack.training.properties import measure

NORMALIZED = ("Conv2D", "DepthwiseConv2D", "Dense", "SeparableConv2D")
"""Layers that TF-MOT takes a following batch normalization into; after others it stays float."""

SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
"""Layers that TF-MOT takes apart before it quantizes them."""

WEIGHTS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel"}
"""Layers whose configuration may need mending, and what they call their kernels."""

DEFAULT_8BIT = (
    "tensorflow_model_optimization.python.core.quantization.keras.default_8bit"
    ".default_8bit_quantize"
)

CALIBRATION_BATCHES = 8
SETTLED = 4
"""The last batches, of which ranges are the mean."""

DECAY = 0.999
"""Of TF-MOT's moving averages (``MovingAvgQuantize``)."""


def quantize(model: Any, properties: Collection[str]) -> Any:
    """A copy of a model that rounds as int8 does, with the same names of inputs and outputs.

    Args:
        model: a tf_keras model.
        properties: where ``clustered`` is among them, kernels that are clustered by tensor get one
            scale for the whole tensor, because a scale for each channel would undo it.

    Raises:
        StepError: if TF-MOT refuses the model.
    """
    flat = rebuild(model, copy_layer)
    whole = {
        kernel.layer.name
        for kernel in kernels(flat)
        for structure in measure([kernel.weight()])
        if "clustered" in properties and structure.clustered_in_tensor
    }
    mot = keras.tfmot().quantization.keras
    scheme = _scheme(whole)
    chosen = {id(layer) for layer in _annotated(flat, scheme.get_quantize_registry())}
    annotate = mot.quantize_annotate_layer
    try:
        annotated = keras.tf_keras().models.clone_model(
            flat, clone_function=lambda x: annotate(x) if id(x) in chosen else x
        )
        return mot.quantize_apply(annotated, scheme, quantized_layer_name_prefix="")
    except (ValueError, RuntimeError) as error:
        raise StepError(
            f"TF-MOT cannot make the model quantization-aware: {error}",
            "leave the step qat out; convert quantizes without it",
        ) from error


def left_float(quantized: Any) -> list[str]:
    """Which layers TF-MOT left float in what `quantize` returned: kind, number, first name.

    Their ranges are read off samples when the model is converted.
    """
    bare: dict[str, list[str]] = {}
    for layer in quantized.layers:
        kind = type(layer).__name__
        if kind not in (*QUANTIZERS, "InputLayer"):
            word = getattr(layer, "symbol", None) or kind
            bare.setdefault(str(word), []).append(layer.name)
    return [f"{kind} ({len(names)}, first {names[0]!r})" for kind, names in bare.items()]


def _annotated(model: Any, registry: Any) -> Iterator[Any]:
    """The layers that TF-MOT can quantize, in themselves or with the layer before them."""
    followers = {id(n) for layer, n in foldable(model) if type(layer).__name__ in NORMALIZED}
    for layer in model.layers:
        known = registry.supports(layer) or type(layer).__name__ in SEPARABLE
        if known or id(layer) in followers:
            yield layer


def _scheme(whole: Collection[str]) -> Any:
    """TF-MOT's default scheme, with its transformations mended by `_transform`."""
    registry = keras.part(f"{DEFAULT_8BIT}_registry")
    schemes = keras.part(f"{DEFAULT_8BIT}_scheme")

    default = schemes.Default8BitQuantizeScheme()
    mended = partial(_transform, default.get_layout_transformer(), registry, whole)
    return SimpleNamespace(
        get_layout_transformer=lambda: SimpleNamespace(apply=mended),
        get_quantize_registry=default.get_quantize_registry,
    )


def _transform(
    transformer: Any, registry: Any, whole: Collection[str], model: Any, configs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Let TF-MOT rearrange the model, then mend how it quantizes kernels.

    Before a ReLU layer its ``LayerReLUQuantize`` switches off the rounding of the kernel together
    with that of the output; only the output's must go.
    """
    transformed, configs = transformer.apply(model, configs)
    for layer in (x for x in transformed.layers if x.name in configs):
        name = WEIGHTS.get(type(layer).__name__)
        config = configs[layer.name].get("quantize_config")
        silenced = type(config).__name__ == "NoOpQuantizeConfig"
        if name is None or not (silenced or layer.name in whole):
            continue
        by_channel = type(layer).__name__ != "Dense" and layer.name not in whole
        kind = "Default8BitConvQuantizeConfig" if by_channel else "Default8BitQuantizeConfig"
        activations = [] if silenced else ["activation"]
        configs[layer.name]["quantize_config"] = getattr(registry, kind)([name], activations, False)
    return transformed, configs


def set_ranges(model: Any, given: Given, batch_size: int) -> None:
    """Read the activations' ranges off some batches.

    TF-MOT starts each at [-6, 6] and moves it by a thousandth with every batch, which a short
    training would never get away from. After a batch, the range seen in it follows from the moving
    average before and after; a few rounds let the ranges of deep layers settle on those before.

    Args:
        model: what `quantize` returned.
        given: its training split is used.
        batch_size: samples in a batch.
    """
    if given.dataset is None:
        return
    samples = given.dataset.calibration(CALIBRATION_BATCHES * batch_size, given.seed)
    kept = model.get_weights()
    ranges = [v for v in model.weights if _is_moving_range(v)]
    seen: list[list[Any]] = []
    for start in range(0, len(samples), batch_size):
        fed = given.dataset.feed(
            samples.take(slice(start, start + batch_size)), list(model.input_names)
        )
        before = [v.numpy() for v in ranges]
        model(list(fed.values()) if len(fed) > 1 else next(iter(fed.values())), training=True)
        after = [v.numpy() for v in ranges]
        seen.append([(b - DECAY * a) / (1 - DECAY) for a, b in zip(before, after, strict=True)])
        for variable, value in zip(ranges, seen[-1], strict=True):
            variable.assign(value)
    model.set_weights(kept)
    for variable, *values in zip(ranges, *seen[-SETTLED:], strict=True):
        variable.assign(np.mean(values, axis=0))


def _is_moving_range(variable: Any) -> bool:
    return bool(re.search(r"/(pre_activation|post_activation|output)_(min|max):", variable.name))
