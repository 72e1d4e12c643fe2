"""What is measured: a model file, and what came with it in its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgepack.artifact import sha256_of, tflite_form
from edgepack.bundle import read_bundle
from edgepack.errors import ModelError

GOLDEN = "golden.npz"


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        path: what the user named: a bundle's folder or a model file.
        model: the model file.
        form: of the model: ``tflite`` or ``edgetpu``.
        golden: inputs and outputs that came with it; None for a bare file.
        manifest: of its bundle; empty for a bare file.
    """

    path: Path
    model: Path
    form: str = "tflite"
    golden: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What tells this model from another in one table: its file, or its bundle's folder."""
        return self.path.resolve().name

    @property
    def host_model(self) -> Path:
        """What the host can run: the model, or the one that it was compiled from."""
        origin = self.manifest.get("compiled_from")
        return self.path / str(origin["path"]) if origin else self.model

    def facts(self) -> dict[str, Any]:
        """Name, sha256 and size_bytes of the model."""
        return {
            "name": self.title,
            "sha256": sha256_of(self.model),
            "size_bytes": self.model.stat().st_size,
        }


def read_subject(path: Path) -> Subject:
    """Find the model of a bundle, or check that a file is a ``.tflite``.

    Raises:
        InputError: if the folder is no bundle.
        ModelError: if the file is no model.
    """
    subject = _subject_of_bundle(path) if path.is_dir() else Subject(path, path)
    try:
        data = subject.model.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{subject.model} cannot be read: {error.strerror}", "name a bundle or a .tflite file"
        ) from error
    if data[4:8] != b"TFL3":
        raise ModelError(
            f"{subject.model} is not a .tflite model",
            "name a bundle or a .tflite file; edgepack build makes both",
        )
    return replace(subject, form=tflite_form(data))


def check_delegates(subjects: Sequence[Subject], delegates: Sequence[str]) -> None:
    """Refuse to run on an Edge TPU what was not compiled for one: it would run on the CPU.

    Raises:
        ModelError: if a model is no such.
    """
    for subject in subjects if "edgetpu" in delegates else ():
        if subject.form != "edgetpu":
            raise ModelError(
                f"{subject.path} is not compiled for an Edge TPU",
                "type: edgepack build MODEL --target coral-usb; or leave --delegate edgetpu away",
            )


def _subject_of_bundle(folder: Path) -> Subject:
    bundle = read_bundle(folder)
    golden = folder / GOLDEN
    vectors = golden if golden.is_file() else None
    return Subject(folder, bundle.model, golden=vectors, manifest=bundle.manifest)
