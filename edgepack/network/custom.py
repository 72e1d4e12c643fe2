"""The user's own layers and functions, from the file that ``--custom`` names, for either Keras."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.userfile import run_file

FOREIGN = (
    "abc",
    "builtins",
    "functools",
    "keras",
    "math",
    "numpy",
    "tensorflow",
    "tf_keras",
    "typing",
)
"""Packages whose names in a file are imports, not the user's own."""


def custom_objects(custom_file: Path | None) -> dict[str, Any]:
    """The classes and functions of a file by name, made for tf_keras.

    While the file runs, ``keras`` and ``tensorflow.keras`` mean tf_keras, so that a layer written
    for Keras 3 becomes one of Keras 2, as far as it uses what both have.

    Raises:
        ModelError: if the file is missing or fails; its line is named.
    """
    if custom_file is None:
        return {}
    with _keras2_as_keras():
        try:
            module = run_file(custom_file, ModelError)
        except ModelError as error:
            raise ModelError(
                error.message,
                "the file must run with tf_keras in the place of keras: write its layers with"
                " TensorFlow functions (tf.*) instead of keras.ops, or test keras.__version__",
            ) from error
        return _own(module, keras.tf_keras().utils.get_registered_name)


def keras3_objects(custom_file: Path | None) -> dict[str, Any]:
    """The classes and functions of a file by name, as they are for Keras 3.

    Raises:
        ModelError: if the file is missing or fails; its line is named.
    """
    if custom_file is None:
        return {}
    three = keras.keras3()
    with _tensorflow_keras(three):
        return _own(run_file(custom_file, ModelError), three.saving.get_registered_name)


def _own(module: ModuleType, registered_name: Any) -> dict[str, Any]:
    found = {
        name: thing
        for name, thing in vars(module).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__.split(".")[0] not in FOREIGN
    }
    return found | {registered_name(thing): thing for thing in found.values()}


@contextlib.contextmanager
def _keras2_as_keras() -> Iterator[None]:
    """Let ``import keras`` and ``tensorflow.keras`` find tf_keras."""
    two = keras.tf_keras()
    loaded = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "tf_keras"}
    hidden = {n: sys.modules.pop(n) for n in list(sys.modules) if _is_alias(n)}
    for name, module in loaded.items():
        for alias in ("keras", "tensorflow.keras"):
            sys.modules[name.replace("tf_keras", alias, 1)] = module
    try:
        with _tensorflow_keras(two):
            yield
    finally:
        for name in [n for n in sys.modules if _is_alias(n)]:
            del sys.modules[name]
        sys.modules.update(hidden)


@contextlib.contextmanager
def _tensorflow_keras(package: ModuleType) -> Iterator[None]:
    """Let ``tf.keras`` be one of the two; by itself it depends on whether TF-MOT is loaded."""
    tf = keras.tensorflow()
    before, tf.keras = tf.keras, package
    try:
        yield
    finally:
        tf.keras = before


def _is_alias(name: str) -> bool:
    return name.split(".")[0] == "keras" or f"{name}.".startswith("tensorflow.keras.")
