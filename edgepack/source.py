"""Where a model comes from: found and checked before anything heavy loads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgepack import plugins
from edgepack.artifact import sha256_of, sha256_of_folder
from edgepack.errors import InputError, ModelError


@dataclass(frozen=True)
class ModelSource:
    """A model that a build starts from.

    Attributes:
        name: for the bundle's folder: the file's stem, or the object's own name.
        form: the plug-in in ``forms/`` that reads it.
        gives: the form that it is read into.
        path: the file, or None for an object.
        model: the object, or None for a file.
        custom: a Python file with the model's own layers, or None.
        allow_code: whether code inside the file may run.
        shapes: what the inputs' open dimensions are to be, as whole shapes by the inputs' names.
        signature: which of several signatures is meant; empty for the usual one.
    """

    name: str
    form: str
    gives: str
    path: Path | None = None
    model: Any = None
    custom: Path | None = None
    allow_code: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    signature: str = ""

    @property
    def file(self) -> Path:
        """The path of a model that is no object."""
        if self.path is None:
            raise ModelError(f"{self.name} is an object, not a file", "save it first")
        return self.path

    @cached_property
    def sha256(self) -> str:
        """Of the file, or of a folder's files; of an object, the store's file tells.

        Raises:
            ModelError: if one of them cannot be read.
        """
        if self.path is None:
            return ""
        try:
            return sha256_of_folder(self.path) if self.path.is_dir() else sha256_of(self.path)
        except OSError as error:
            raise ModelError(
                f"cannot read {error.filename or self.path}: {error.strerror}", "check the path"
            ) from error

    def custom_objects(self) -> Mapping[str, Any]:
        """The user's own classes and functions by name, as tf_keras knows them."""
        from edgepack.network import custom

        return custom.custom_objects(self.custom)


KNOWN = "give a .keras, .h5, .hdf5, .onnx or .tflite file, or the folder of a SavedModel"
"""The hint for what is no model."""


def is_converted(origin: ModelSource) -> bool:
    """Whether reading the model makes a .tflite of what is none."""
    return origin.gives == "tflite" != origin.form


def open_model(
    model: Any,
    *,
    custom: str | Path = "",
    allow_code: bool = False,
    input_shapes: Sequence[str] = (),
    signature: str = "",
) -> ModelSource:
    """Find what reads a model.

    Args:
        model: a path, or a Keras model object.
        custom: a Python file with the model's own layers.
        allow_code: whether code inside the file may run.
        input_shapes: words such as ``image:1,3,48,192`` for inputs with open dimensions.
        signature: which of a SavedModel's signatures is meant.

    Raises:
        ModelError: if there is no such file, it is empty, or no form matches it.
        InputError: if a shape is none, or the form has no use for it.
    """
    file = Path(custom) if custom else None
    if file and not file.is_file():
        raise ModelError(f"there is no file {file}", "name a Python file with --custom")
    facts: dict[str, Any] = {"custom": file, "allow_code": allow_code, "signature": signature}
    facts["shapes"] = read_shapes(input_shapes)
    if not isinstance(model, str | Path):
        name = re.sub(r"\W+", "_", str(getattr(model, "name", "model")))
        return _asked(ModelSource(name, "keras", "keras", model=model, **facts), ())
    path = Path(model)
    _check_file(path)
    for form in plugins.names("forms"):
        plugin = plugins.load("forms", form)
        if plugin.matches(path):
            return _asked(
                ModelSource(_name(path), form, plugin.gives, path, **facts), plugin.OPTIONS
            )
    what = "a folder without a model" if path.is_dir() else "no model"
    raise ModelError(f"{path} is {what} that edgepack reads", KNOWN)


def _name(path: Path) -> str:
    """What a model is called: as its file, or as its folder, whose name ends in no suffix."""
    whole = path if path.name not in ("", "..") else path.resolve()
    return whole.name if path.is_dir() else whole.stem


def _asked(origin: ModelSource, options: Sequence[str]) -> ModelSource:
    """Refuse an option that means nothing for the form."""
    given = {"--input-shape": origin.shapes, "--signature": origin.signature}
    for option in (name for name, value in given.items() if value and name not in options):
        raise InputError(f"{option} means nothing for a model of the form {origin.form}", "drop it")
    return origin


def read_shapes(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Whole shapes by input from words such as ``image:1,3,48,192``.

    Raises:
        InputError: if a word is none of these, or names an input again.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, _, sizes = word.rpartition(":")
        if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", sizes) or not name or name in shapes:
            raise InputError(
                f"--input-shape {word!r} is no NAME:SIZE,SIZE,... of an input of its own",
                "such as --input-shape image:1,3,48,192",
            )
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def _check_file(path: Path) -> None:
    if path.is_dir():
        return
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "check the path of the model")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", "save or copy the model again")
