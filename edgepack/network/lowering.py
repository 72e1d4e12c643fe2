"""Hands a tf_keras model to the TFLite converter; a flatbuffer or one clear error comes back."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from typing import Any

from edgepack import keras
from edgepack.errors import StepError
from edgepack.quiet import quiet

UNEXPLAINED = "the TFLite converter failed: no reason"
"""The message of an error where the converter says nothing."""

UNUSUAL = {"f64": "float64", "f16": "float16", "bf16": "bfloat16"}
"""Types of which TFLite has few operators, as MLIR calls them."""

LOOPS = ("LSTM", "GRU", "SimpleRNN")
"""Layers that become a loop, which the converter's calibration cannot enter: it crashes."""


def trace(model: Any, batch: int) -> Any:
    """A concrete function of a tf_keras model, with its inputs and outputs in the model's order.

    Args:
        model: a tf_keras model.
        batch: samples in one call; 0 leaves it open.
    """
    tf = keras.tensorflow()
    specs = [
        tf.TensorSpec([batch or None, *x.shape[1:]], x.dtype, name=name)
        for name, x in zip(model.input_names, model.inputs, strict=True)
    ]

    def call(*inputs: Any) -> Any:
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return tf.nest.flatten(outputs)

    return tf.function(call, input_signature=specs, autograph=False).get_concrete_function()


def lower(traced: Any, configure: Callable[[Any], None] | None = None) -> bytes:
    """Convert; whatever TensorFlow says meanwhile is swallowed.

    Args:
        traced: what `trace` returned.
        configure: sets up the converter; None: for a float model.

    Raises:
        StepError: if an operator is not built in, or the converter fails.
    """
    lite = keras.tensorflow().lite.TFLiteConverter
    failure: Exception | None = None
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Handed over without its model, the function is frozen at once: that takes a fifth of the
        # time, keeps the order of inputs and outputs, and makes no LSTM operator, which would carry
        # its state from one call to the next.
        converter = lite.from_concrete_functions([traced])
        if configure:
            configure(converter)
        try:
            return bytes(converter.convert())
        except _failures() as error:
            # Kept until the quiet block is over, which would show a page of MLIR.
            failure = error
    raise conversion_error(str(failure)) from failure


def _failures() -> tuple[type[Exception], ...]:
    phase = keras.part("tensorflow.lite.python.convert_phase")
    return phase.ConverterError, RuntimeError, ValueError


def conversion_error(text: str) -> StepError:
    """What the converter's page of text means, in one line."""
    if found := re.search(r"(?:Flex|Custom|TF Select) ops: (.+)", text):
        return StepError(
            f"TFLite has no built-in operator for {found[1].strip()}{_unusual_types(text)}",
            "replace the layers that use it; edgepack makes models of built-in operators only",
        )
    if found := re.search(r"(\w+VariableOp)\w* was passed .* expected resource", text):
        return StepError(
            f"the model changes variables of its own as it runs: {found[1]}",
            "save it without such a state; edgepack makes models that start anew with each sample",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return StepError(UNEXPLAINED)
    told = next((line for line in lines if "error:" in line), lines[0])
    place = [re.split("[@:]", quoted)[0] for quoted in re.findall(r'"([^"]+)"', told)]
    reason = re.sub(r"^.*?error: (loc\(.*\): )?", "", told)[:300]
    return StepError(
        f"the TFLite converter failed: {reason}" + (f" at {place[-1]}" if place else "")
    )


def _unusual_types(text: str) -> str:
    """The types of numbers in the converter's details that few operators have."""
    found = set(re.findall(r"[<x](f64|f16|bf16)>", text))
    return f" with {', '.join(sorted(UNUSUAL[word] for word in found))}" if found else ""


def has_loop(traced: Any) -> bool:
    """Whether what `trace` returned runs a loop."""
    return any(node.type in ("While", "StatelessWhile") for node in traced.graph.get_operations())


def unrolled(model: Any) -> Any:
    """The same model with its recurrent layers written out step by step, which has no loops.

    Raises:
        StepError: if the number of steps is not known.
    """
    layers = [x for x in model.submodules if type(x).__name__ in LOOPS and not x.unroll]
    if not layers:
        return model
    config = _unroll(json.loads(model.to_json()), {layer.name for layer in layers})
    try:
        copy = keras.tf_keras().models.model_from_json(json.dumps(config))
    except ValueError as error:
        raise StepError(
            "a recurrent layer takes any number of time steps, so it cannot be calibrated",
            "fix the number of steps in the model's input, or --set convert.quantization=dynamic",
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def _unroll(config: Any, chosen: set[str]) -> Any:
    if isinstance(config, list):
        return [_unroll(part, chosen) for part in config]
    if not isinstance(config, dict):
        return config
    config = {key: _unroll(part, chosen) for key, part in config.items()}
    if config.get("name") in chosen and "unroll" in config:
        config["unroll"] = True
    return config
