"""The program that makes a .tflite of a SavedModel with TensorFlow's converter, and compares."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack import keras
from edgepack.errors import ModelError, StepError
from edgepack.exchange import agreement, naming, program, saved_file, shapes
from edgepack.exchange.program import Teller
from edgepack.exchange.saved_file import Saved
from edgepack.exchange.worker import MODEL
from edgepack.network import lowering
from edgepack.network.bridge_check import LIMIT, difference
from edgepack.tflite import signature

STAGES = ("load", "convert", "compare")


def work(job: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """Convert one signature of the folder of a job.

    Args:
        job: its ``path``, its ``signature``, and the ``shapes`` that the user gave.
        teller: hears of the stages.

    Returns:
        Facts: the ``converter``, the largest ``difference`` and the ``signature``.

    Raises:
        ModelError: if it cannot be loaded or run.
        StepError: if it cannot be converted, or the two differ.
    """
    teller.begin("load")
    tf = keras.tensorflow()
    folder = Path(job["path"])
    saved = saved_file.read(folder, job["signature"])
    sizes = shapes.fixed(saved.inputs, {n: tuple(s) for n, s in job["shapes"].items()})
    model, traced = _traced(folder, saved, sizes)
    teller.begin("convert")
    converted = lowering.lower(traced)
    teller.begin("compare")
    found = _compare(converted, traced, saved, sizes)
    signed = signature.sign(converted, naming.words(saved.inputs), naming.words(saved.outputs))
    Path(MODEL).write_bytes(signed)
    del model  # Its variables are those of the function.
    return {
        "converter": f"TensorFlow {tf.__version__}",
        "difference": found,
        "signature": saved.signature,
    }


def _traced(folder: Path, saved: Saved, sizes: Mapping[str, tuple[int, ...]]) -> tuple[Any, Any]:
    """The loaded model, and its signature with fixed shapes, inputs and outputs in their order."""
    tf = keras.tensorflow()
    specs = [
        tf.TensorSpec(sizes[n], saved.dtypes[n], name=f"input_{i}") for i, n in enumerate(sizes)
    ]
    try:
        model = tf.saved_model.load(str(folder), tags=list(saved.tags))
        own = model.signatures[saved.signature]

        def call(*inputs: Any) -> Any:
            outputs = own(**dict(zip(sizes, inputs, strict=True)))
            return [tf.identity(outputs[name]) for name in saved.outputs]

        function = tf.function(call, input_signature=specs, autograph=False)
        return model, function.get_concrete_function()
    except Exception as error:
        # What is loaded is untrusted, and TensorFlow raises what its parts raise.
        raise ModelError(
            f"TensorFlow {tf.__version__} cannot load {folder}: {program.reason_of(error)}",
            "check the shapes that --input-shape gives, or save the model again",
        ) from error


def _compare(
    converted: bytes, traced: Any, saved: Saved, sizes: Mapping[str, tuple[int, ...]]
) -> float:
    """How far the .tflite is from the signature, at most over all outputs."""
    worst = 0.0
    for seed in agreement.SEEDS:
        inputs = agreement.samples(sizes, saved.dtypes, seed)
        tensors = [keras.tensorflow().constant(x) for x in inputs.values()]
        wanted = [x.numpy() for x in traced(*tensors)]
        got = agreement.outputs(converted, range(len(inputs)), inputs)
        for name, a, b in zip(saved.outputs, wanted, got, strict=True):
            gap = difference(a, b)
            if gap > LIMIT["float32"]:
                raise StepError(
                    f"the converted model differs from the SavedModel: output {name!r} by"
                    f" {gap:.2g} of its largest value",
                    "save the model without random operators and without state",
                )
            worst = max(worst, gap)
    return worst


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        program.main(work, STAGES)
