"""Where a model comes from: found and checked without TensorFlow, read into the form keras once."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgepack import plugins
from edgepack.artifact import sha256_of
from edgepack.chain import FILES, Stage, contents, stage_of
from edgepack.checks import Slot
from edgepack.errors import ModelError
from edgepack.progress import Progress, Reporter
from edgepack.store import Store, key_of, source_digest, versions

NO_PROPERTIES: frozenset[str] = frozenset()


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
        found: Mapping[str, Any] = plugins.load("forms", self.form).custom_objects(self.custom)
        return found


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
        "give a .keras, .h5 or .hdf5 file",
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ModelError(f"{path} is a folder", "give a .keras, .h5 or .hdf5 file")
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "check the path of the model")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", "save or copy the model again")


def find(origin: ModelSource, store: Store) -> Stage | None:
    """The first stage of a build, if the model was read before; objects are always read."""
    found = store.get(_key(origin)) if origin.path else None
    return stage_of(found, origin.gives, NO_PROPERTIES) if found else None


def read(origin: ModelSource, store: Store, seed: int, report: Reporter) -> Stage:
    """The first stage of a build: from the store, or read and bridged now."""
    if found := find(origin, store):
        return found
    report(Progress(f"read {origin.name}", 0, 0))
    with store.lock(_key(origin)):
        return find(origin, store) or _read_now(origin, store, seed)


def _key(origin: ModelSource) -> str:
    return key_of(
        form=origin.form,
        sha256=origin.sha256,
        custom=sha256_of(origin.custom) if origin.custom else "",
        allow_code=origin.allow_code,
        source=source_digest(f"edgepack.forms.{origin.form}"),
        audit=source_digest("edgepack.audit"),
        versions=versions(),
    )


def _read_now(origin: ModelSource, store: Store, seed: int) -> Stage:
    from edgepack import audit, graph, keras

    started = time.perf_counter()
    keras.start(seed)
    form = plugins.load("forms", origin.form)
    if origin.path is None:
        model = form.read_object(origin.model, origin.custom)
    else:
        model = form.read(origin.path, origin.custom, origin.allow_code)
    data = contents(origin.gives, model)
    facts = {
        "inputs": graph.inputs_of(model),
        "outputs": graph.outputs_of(model),
        "structure": audit.audit(origin.gives, model),
        "seconds": time.perf_counter() - started,
        "findings": [],
        "loss": None,
    }
    key = _key(origin) if origin.path else key_of(object=hashlib.sha256(data).hexdigest())
    result = store.put(key, {FILES[origin.gives]: data}, facts)
    return stage_of(result, origin.gives, NO_PROPERTIES, model)


def slots(stage: Stage, which: str) -> list[Slot]:
    """The ``inputs`` or ``outputs`` of the model that a build started from."""
    return [Slot(name, tuple(shape), dtype) for name, shape, dtype in stage.facts[which]]
