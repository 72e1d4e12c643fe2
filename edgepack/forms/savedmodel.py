"""Folders of TensorFlow's SavedModel: one signature, converted to a float ``.tflite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.progress import Reporter, silent
from edgepack.tflite import admission

if TYPE_CHECKING:
    from edgepack.exchange.worker import Converted
    from edgepack.source import ModelSource

FILE = "saved_model.pb"
PROGRAM = "edgepack.exchange.saved_program"
gives = "tflite"
OPTIONS = ("--input-shape", "--signature")
"""What of a model's options means something here."""
slots, refusal = admission.slots, admission.refusal


def matches(path: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return (path / FILE).is_file()


def check(origin: ModelSource) -> None:
    """Refuse at once what is broken or cannot be converted; nothing of it runs.

    Raises:
        MissingExtraError: if TensorFlow is not installed.
        ModelError: if the file is broken, has no such signature, leaves sizes open, or holds
            operators that act on more than the model: on files, on texts, on Python.
    """
    from edgepack.exchange import saved_file, shapes

    saved = saved_file.read(origin.file, origin.signature)
    shapes.fixed(saved.inputs, origin.shapes)


def convert(origin: ModelSource, report: Reporter = silent) -> Converted:
    """The float .tflite of a signature, and the facts of how it was made and compared.

    Raises:
        MissingExtraError: if TensorFlow is not installed.
        ModelError: as `check` does, or if TensorFlow cannot load it.
        StepError: if it needs operators that TFLite does not have, or what came of it computes
            something else.
    """
    from edgepack.exchange import worker

    check(origin)
    job = {
        "path": str(origin.file.absolute()),
        "shapes": dict(origin.shapes),
        "signature": origin.signature,
    }
    return worker.convert(PROGRAM, job, "convert SavedModel", report)


def read(origin: ModelSource, report: Reporter = silent) -> bytes:
    """The float .tflite of a signature; raises what `convert` does."""
    return convert(origin, report).model
