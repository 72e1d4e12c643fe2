"""ONNX models: converted to float ``.tflite`` by onnx2tf, and compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.progress import Reporter, silent
from edgepack.tflite import admission

if TYPE_CHECKING:
    from edgepack.exchange.worker import Converted
    from edgepack.source import ModelSource

SUFFIXES = (".onnx",)
PROGRAM = "edgepack.exchange.onnx_program"
gives = "tflite"
OPTIONS = ("--input-shape",)
"""What of a model's options means something here."""
slots, refusal = admission.slots, admission.refusal


def matches(path: Path) -> bool:
    """Whether a file is named as an ONNX model."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def check(origin: ModelSource) -> None:
    """Refuse at once what is broken or cannot be converted; nothing is converted.

    Raises:
        MissingExtraError: if the package onnx is not installed.
        ModelError: if the file is broken, holds operators that nothing here knows, is quantized, or
            leaves sizes open.
    """
    _shapes(origin)


def companions(origin: ModelSource) -> list[Path]:
    """The files beside it that hold weights of it, and so are part of what it is."""
    from edgepack.exchange import onnx_file

    return onnx_file.companions(origin.file)


def convert(origin: ModelSource, report: Reporter = silent) -> Converted:
    """The float .tflite of a file, and the facts of how it was made and compared.

    Inputs that hold channels in dimension 1 hold them last in the .tflite.

    Raises:
        MissingExtraError: if a package of the extra ``onnx`` is not installed.
        ModelError: as `check` does, or if ONNX Runtime refuses it.
        StepError: if it cannot be converted, or what came of it computes something else.
    """
    from edgepack.exchange import worker

    shapes = _shapes(origin)
    job: Mapping[str, Any] = {"path": str(origin.file.absolute()), "shapes": shapes}
    return worker.convert(PROGRAM, job, "convert ONNX", report)


def read(origin: ModelSource, report: Reporter = silent) -> bytes:
    """The float .tflite of a file; raises what `convert` does."""
    return convert(origin, report).model


def _shapes(origin: ModelSource) -> dict[str, tuple[int, ...]]:
    from edgepack.exchange import onnx_file, shapes

    model = onnx_file.read(origin.file)
    return shapes.fixed(onnx_file.inputs_of(model), origin.shapes)
