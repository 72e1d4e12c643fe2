"""Where a model comes from: found and checked before anything heavy loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgepack import plugins
from edgepack.artifact import sha256_of
from edgepack.errors import ModelError


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
    """

    name: str
    form: str
    gives: str
    path: Path | None = None
    model: Any = None
    custom: Path | None = None
    allow_code: bool = False

    @cached_property
    def sha256(self) -> str:
        """Of the file; of an object, once it is read, the store's file tells."""
        return sha256_of(self.path) if self.path else ""

    def custom_objects(self) -> Mapping[str, Any]:
        """The user's own classes and functions by name, as tf_keras knows them."""
        from edgepack.network import custom

        return custom.custom_objects(self.custom)


def open_model(model: Any, *, custom: str = "", allow_code: bool = False) -> ModelSource:
    """Find what reads a model.

    Args:
        model: a path, or a Keras model object.
        custom: a Python file with the model's own layers.
        allow_code: whether code inside the file may run.

    Raises:
        ModelError: if there is no such file, it is empty, or no form matches it.
    """
    file = Path(custom) if custom else None
    if file and not file.is_file():
        raise ModelError(f"there is no file {file}", "name a Python file with --custom")
    if not isinstance(model, str | Path):
        name = re.sub(r"\W+", "_", str(getattr(model, "name", "model")))
        return ModelSource(name, "keras", "keras", model=model, custom=file, allow_code=allow_code)
    path = Path(model)
    _check_file(path)
    for form in plugins.names("forms"):
        plugin = plugins.load("forms", form)
        if plugin.matches(path):
            return ModelSource(path.stem, form, plugin.gives, path, None, file, allow_code)
    raise ModelError(
        f"{path} is no model that edgepack reads",
        "give a .keras, .h5, .hdf5 or .tflite file",
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelError(f"{path} is a folder", "give a .keras, .h5, .hdf5 or .tflite file")
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "check the path of the model")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", "save or copy the model again")
