"""One immutable model file, in one of the forms that steps take and give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FORMS = ("keras", "keras-qat", "tflite", "edgetpu", "ethosu", "c")
"""The forms that a step may take and give; ``keras`` is always a tf_keras model."""

COMPILED = frozenset({"edgetpu", "ethosu", "c"})
"""Forms that this machine cannot run; they are judged by the ``tflite`` that they come from."""

UNQUANTIZED = frozenset({"", "float16"})
"""How a .tflite may be quantized whose weights are floats, so that it can be trained yet."""

EDGETPU_OPERATOR = "edgetpu-custom-op"
"""What stands in a .tflite for a part that the Edge TPU computes."""
ETHOSU_OPERATOR = "ethos-u"
"""What stands in a .tflite for a part that the Ethos-U computes."""


@dataclass(frozen=True)
class Artifact:
    """A model file on disk.

    Attributes:
        path: where the file is.
        form: one of `FORMS`.
        sha256: of the file's bytes.
        properties: structure that later steps must keep, such as ``sparse`` or ``clustered``.
    """

    path: Path
    form: str
    sha256: str
    properties: frozenset[str] = frozenset()


def tflite_form(data: bytes) -> str:
    """The form of a .tflite by its bytes: that of an accelerator where it is compiled for one."""
    if EDGETPU_OPERATOR.encode() in data:
        return "edgetpu"
    return "ethosu" if ETHOSU_OPERATOR.encode() + b"\0" in data else "tflite"


def sha256_of_folder(folder: Path) -> str:
    """The sha256 over the names and bytes of a folder's files, linked ones among them."""
    import hashlib

    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(f"{path.relative_to(folder)}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def files_of(place: Path) -> list[Path]:
    """The file itself, or the files in a folder and its folders; no linked folders."""
    if not place.is_dir():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes as hex digits; the file is streamed."""
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
