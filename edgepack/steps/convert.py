"""Convert to TFLite: float32, float16, dynamic, int8 or int16x8, with built-in operators only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.progress import Progress
from edgepack.step import Given, Step, setting

CALIBRATED = ("int8", "int16x8")
"""Quantizations whose activations need ranges, so samples."""


@dataclass(frozen=True)
class Convert(Step):
    """Keras to TFLite with TensorFlow's converter; a signature keeps names and order."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras", "keras-qat"})
    gives: ClassVar[str] = "tflite"
    extras: ClassVar[tuple[str, ...]] = ("build",)

    quantization: str = setting(
        "int8", "format of the numbers", choices=("float32", "float16", "dynamic", *CALIBRATED)
    )
    io: str = setting(
        "float", "type of inputs and outputs of int8 and int16x8", choices=("float", "integer")
    )
    samples: int = setting(200, "training samples that ranges are read from", unit="samples", low=1)
    batch: int = setting(1, "samples in one call; 0 leaves it open", unit="samples", low=0)
    per_channel: bool = setting(True, "one weight scale for each channel, not for each tensor")
    per_channel_dense: bool = setting(
        True, "the same for dense layers, which runtimes from before 2024 compute wrongly"
    )
    sparse: bool = setting(False, "encode sparsely what the target's runtime computes so")

    def needs(self) -> frozenset[str]:
        """Samples where ranges are read; the target where its runtime decides."""
        calibration = {"calibration"} if self.quantization in CALIBRATED else set()
        return frozenset(calibration | ({"target"} if self.sparse else set()))

    def check(self) -> None:
        """Refuse integer inputs and sparse encoding where they do not exist."""
        if self.io == "integer" and self.quantization not in CALIBRATED:
            raise RecipeError(
                f"convert.io is integer, but {self.quantization} has float inputs and outputs",
                "set convert.quantization to int8 or int16x8, or convert.io to float",
            )
        if self.sparse and self.quantization not in ("float32", "float16"):
            raise RecipeError(
                f"convert.sparse does not go with {self.quantization}: XNNPACK computes sparsely"
                " in float only, and refuses sparse int8 convolutions when it loads them",
                "set convert.quantization to float32 or float16, or convert.sparse to false",
            )

    def is_done(self, quantized: str) -> bool:
        """Whether the file has these numbers already; those of 8 bits used to have no sign."""
        same = {"": "float32", "uint8": "int8"}.get(quantized, quantized) == self.quantization
        return same and not self.sparse

    def apply(self, model: Any, given: Given) -> bytes:
        """The model's flatbuffer.

        Raises:
            StepError: if an operator is not built in, or the converter fails.
        """
        from edgepack.network import lowering
        from edgepack.tflite import signature

        calibrated = self.quantization in CALIBRATED
        traced = lowering.trace(lowering.unrolled(model) if calibrated else model, self.batch)
        if calibrated and lowering.has_loop(traced):
            raise StepError(
                f"the model has a loop, which cannot be calibrated for {self.quantization}",
                "type --set convert.quantization=dynamic",
            )
        if self.sparse:
            self._check_sparse(lowering.lower(traced), given)
        try:
            data = lowering.lower(traced, self._configuration(model, given))
        except StepError as error:
            if error.message != lowering.UNEXPLAINED:
                raise
            raise self._located(model, given) from error
        return signature.sign(data, model.input_names, model.output_names)

    def _located(self, model: Any, given: Given) -> StepError:
        """What to say where the converter does not: the layer with which it fails."""
        from edgepack.network import culprit, lowering

        quick = replace(self, samples=1)

        def fails(part: Any) -> bool:
            given.report(Progress("look for the layer that fails", 0, 0))
            try:
                lowering.lower(lowering.trace(part, self.batch), quick._configuration(part, given))
            except StepError:
                return True
            return False

        layer = culprit.find(model, fails)
        word = getattr(layer, "symbol", None) or type(layer).__name__
        return StepError(
            f"the TFLite converter fails at layer {layer.name!r} ({word}) and does not say why",
            "leave the step qat out where there is one, or --set convert.quantization=dynamic",
        )

    def _check_sparse(self, dense: bytes, given: Given) -> None:
        """Refuse to encode sparsely what nothing would compute sparsely; say what will be."""
        from edgepack.tflite import flatbuffer, xnnpack

        found = xnnpack.forecast(flatbuffer.read_graph(dense), given.target)
        reasons = "; ".join(found.reasons)
        if not found.sparse:
            raise StepError(
                f"{given.target.name} would compute no layer sparsely: {reasons}",
                "edgepack sparsity MODEL tells what would help; or set convert.sparse to false",
            )
        given.remark(f"{len(found.sparse)} layers will be computed sparsely")
        if reasons:
            given.remark(f"convolutions stay dense: {reasons}")

    def _configuration(self, model: Any, given: Given) -> Callable[[Any], None]:
        from edgepack import keras

        def configure(converter: Any) -> None:
            tf = keras.tensorflow()
            converter.optimizations = self._optimizations(tf.lite.Optimize)
            if self.quantization == "float16":
                converter.target_spec.supported_types = [tf.float16]
            converter._experimental_disable_per_channel = not self.per_channel
            converter._experimental_disable_per_channel_quantization_for_dense_layers = (
                not self.per_channel_dense
            )
            if self.quantization in CALIBRATED:
                self._integers(converter, tf)
                converter.representative_dataset = self._samples(model, given)

        return configure

    def _optimizations(self, optimize: Any) -> list[Any]:
        chosen = [] if self.quantization == "float32" else [optimize.DEFAULT]
        return [*chosen, optimize.EXPERIMENTAL_SPARSITY] if self.sparse else chosen

    def _integers(self, converter: Any, tf: Any) -> None:
        """Integer kernels; a layer that has none stays float unless inputs must be integers."""
        ops = tf.lite.OpsSet
        wide = self.quantization == "int16x8"
        kernels = (
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if wide
            else ops.TFLITE_BUILTINS_INT8
        )
        strict = self.io == "integer"
        converter.target_spec.supported_ops = (
            [kernels] if strict else [kernels, ops.TFLITE_BUILTINS]
        )
        if strict:
            kind = tf.int16 if wide else tf.int8
            converter.inference_input_type = converter.inference_output_type = kind

    def _samples(self, model: Any, given: Given) -> Callable[[], Iterator[list[Any]]]:
        """Samples one at a time, so that no more than the stored ones lie in memory."""
        if given.dataset is None:
            raise StepError(f"{self.quantization} needs samples to calibrate on", "give --data")
        dataset = given.dataset
        chosen = dataset.calibration(self.samples, given.seed)
        names = list(model.input_names)
        kinds = [x.dtype.as_numpy_dtype for x in model.inputs]

        def feed() -> Iterator[list[Any]]:
            for i in range(len(chosen)):
                fed = dataset.feed(chosen.take(slice(i, i + 1)), names)
                yield [fed[name].astype(kind) for name, kind in zip(names, kinds, strict=True)]
                given.report(Progress("calibrate", i + 1, len(chosen)))

        return feed
