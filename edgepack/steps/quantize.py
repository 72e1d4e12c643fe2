"""Quantize a float .tflite itself: int8 or int4 weights, and for single layers what rules say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, Step, setting
from edgepack.tflite.scheme import INTEGERS, KINDS, Scheme, read_rule

if TYPE_CHECKING:
    from edgepack.tflite.quantizer import Samples


@dataclass(frozen=True)
class Quantize(Step):
    """ai-edge-quantizer's quantization after training; names and order of the ends stay."""

    takes: ClassVar[frozenset[str]] = frozenset({"tflite"})
    gives: ClassVar[str] = "tflite"
    extras: ClassVar[tuple[str, ...]] = ("quantize",)

    scheme: str = setting("static", "what is computed in integers", choices=KINDS)
    weights: str = setting("int8", "what weights are stored as", choices=INTEGERS)
    activations: str = setting("int8", "what activations are, if static", choices=("int8", "int16"))
    io: str = setting(
        "float", "type of inputs and outputs, if static", choices=("float", "integer")
    )
    samples: int = setting(200, "training samples that ranges are read from", unit="samples", low=1)
    per_channel: bool = setting(True, "one weight scale for each channel, not for each tensor")
    rules: tuple[str, ...] = setting(
        (), "[OPERATOR:]REGEX=float|int8|int4 for single layers; the later one wins"
    )

    def needs(self) -> frozenset[str]:
        """Samples where ranges are read."""
        return frozenset({"calibration"} if self.scheme == "static" else ())

    def check(self) -> None:
        """Refuse integers where there are floats, and rules that are none."""
        if self.scheme != "static" and self.io == "integer":
            raise RecipeError(
                f"quantize.io is integer, but {self.scheme} has float inputs and outputs",
                "set quantize.scheme to static, or quantize.io to float",
            )
        if self.scheme != "static" and self.activations == "int16":
            raise RecipeError(
                f"quantize.activations is int16, but {self.scheme} stores no activations",
                "set quantize.scheme to static, or quantize.activations to int8",
            )
        for rule in self.rules:
            read_rule(rule)

    def apply(self, model: Any, given: Given) -> bytes:
        """The quantized flatbuffer.

        Raises:
            StepError: if it is quantized already, a rule is for nothing, or the result is broken.
        """
        from edgepack.tflite import quantizer

        return quantizer.quantize(
            model,
            Scheme(self.scheme, self.weights, self.activations, self.io, self.per_channel),
            [read_rule(rule) for rule in self.rules],
            self._samples(model, given) if self.scheme == "static" else None,
            given.remark,
        )

    def _samples(self, model: bytes, given: Given) -> Samples:
        from edgepack.tflite.calibration import samples_of

        if given.dataset is None:
            raise StepError("static quantization needs samples to calibrate on", "give --data")
        return samples_of(model, given.dataset, self.samples, given.seed, given.report)
