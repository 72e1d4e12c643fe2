"""What stands in the way of 8-bit training is named, where TF-MOT and the converter say nothing."""

from __future__ import annotations

from typing import Any

import pytest
from samples import given, noise_for

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network import culprit, lowering
from edgepack.steps.convert import Convert
from edgepack.training import quantization


def forked(*, mixed: bool = False) -> Any:
    """Two branches, and outputs after each; one branch goes through a function where ``mixed``."""
    keras.start(0)
    layers, tf = keras.tf_keras().layers, keras.tensorflow()
    image = layers.Input((8, 8, 2), name="image")
    stem = layers.Conv2D(4, 3, name="stem")(image)
    left = layers.MaxPooling2D(1, name="left")(stem)
    right = layers.Conv2D(4, 1, name="right")(stem)
    right = tf.math.square(right) if mixed else right
    joined = layers.Concatenate(name="joined")([left, right])
    first = layers.Dense(3, name="first")(layers.Flatten(name="flat")(joined))
    second = layers.Dense(2, name="second")(layers.GlobalAveragePooling2D(name="pool")(left))
    return keras.tf_keras().Model(image, [first, second])


@pytest.mark.parametrize("bad", ["stem", "right", "joined", "first", "pool", "second"])
def test_the_first_layer_that_fails_is_found(bad: str) -> None:
    tries: list[Any] = []

    def fails(part: Any) -> bool:
        tries.append(part)
        return bad in [layer.name for layer in part.layers]

    assert culprit.find(forked(), fails).name == bad
    assert len(tries) <= 6


def test_layers_that_fail_only_together_are_found() -> None:
    def fails(part: Any) -> bool:
        return {"flat", "pool"} <= {layer.name for layer in part.layers}

    assert culprit.find(forked(), fails).name == "pool"


def test_what_stands_in_the_way_of_8_bit_training_is_named() -> None:
    """The converter gives up on a quantized concatenation of which a part stayed float."""
    model = forked(mixed=True)
    quantized = quantization.quantize(model, frozenset())
    assert quantization.left_float(quantized) == ["math.square (1, first 'tf.math.square')"]
    with pytest.raises(StepError, match=r"fails at layer 'joined' \(Concatenate\)") as caught:
        Convert(samples=4).apply(quantized, given(noise_for(model)))
    assert "leave the step qat out" in caught.value.hint
    assert quantization.left_float(quantization.quantize(forked(), frozenset())) == []


def test_a_converter_that_fails_without_a_word_is_asked_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = forked()

    def lower(traced: Any, configure: Any = None) -> bytes:
        if any("right" in node.name for node in traced.graph.get_operations()):
            raise lowering.conversion_error("")
        return b""

    monkeypatch.setattr(lowering, "lower", lower)
    with pytest.raises(StepError, match=r"fails at layer 'right' \(Conv2D\) and does not say why"):
        Convert(samples=4).apply(model, given(noise_for(model)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "error: 'tf.MatMul' op is neither a custom op nor a flex op\nTF Select ops: MatMul\n"
            "Details:\n\ttf.MatMul(tensor<1x4xf64>, tensor<3x4xf64>) -> (tensor<1x3xf64>)",
            "no built-in operator for MatMul with float64",
        ),
        ("x\nCustom ops: Erf\nDetails: tensor<4xf32>", "no built-in operator for Erf"),
        (
            "Input 0 of node Call/AssignAddVariableOp was passed float from Func/input/_6:0"
            " incompatible with expected resource.",
            "changes variables of its own as it runs: AssignAddVariableOp",
        ),
        ('loc("a@b"): error: no luck', "the TFLite converter failed: no luck at a"),
    ],
)
def test_the_converters_pages_become_a_line(text: str, words: str) -> None:
    message = lowering.conversion_error(text).message
    assert message.endswith(words) and "\n" not in message
