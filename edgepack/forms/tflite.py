"""Finished ``.tflite`` files: taken as they are, for steps that need no training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.progress import Reporter, silent
from edgepack.tflite import admission

if TYPE_CHECKING:
    from edgepack.source import ModelSource

SUFFIXES = (".tflite",)
gives = "tflite"
OPTIONS = ()
"""What of a model's options means something here."""
slots, refusal = admission.slots, admission.refusal


def matches(path: Path) -> bool:
    """Whether a file is named as a flatbuffer of TFLite."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def check(origin: ModelSource) -> None:
    """Refuse a broken file at once.

    Raises:
        ModelError: if it is no .tflite, is cut off, points outside of itself, or has inputs or
            outputs that no sample fits.
    """
    from edgepack.tflite import flatbuffer

    admission.check_ends(flatbuffer.read_graph(origin.file))


def read(origin: ModelSource, report: Reporter = silent) -> bytes:  # noqa: ARG001
    """The file's bytes; nothing in it is code, so there is nothing to allow.

    Raises:
        ModelError: as `check` does.
    """
    check(origin)
    return origin.file.read_bytes()
