"""Reads and judges the configuration inside a saved Keras model before Keras loads anything."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from edgepack.errors import ModelError
from edgepack.network.graph_functions import only_computes
from edgepack.network.hdf5 import HARMFUL, check_hdf5, check_member, check_size

LIMIT_BYTES = 1 << 28
"""Of a configuration: a quarter of a gigabyte of JSON is no model."""

CODE = (
    *("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer"),
)
"""Classes that run code, or load it, or take any attribute of any object, or make any operation."""

SECTIONS = (
    *("activations", "backend", "constraints", "dtype_policies", "engine", "initializers"),
    *("layers", "losses", "metrics", "mixed_precision", "models", "ops", "quantizers"),
    *("random", "regularizers"),
)
"""Parts of Keras whose classes make models; what is outside could do anything."""

PACKAGES = ("tensorflow.python.keras", "tensorflow.keras", "tf_keras", "keras")

NOT_A_MODEL = "give a model saved by model.save('FILE.keras'), or a Keras .h5 file"


@dataclass(frozen=True)
class Archive:
    """What a saved model says of itself.

    Attributes:
        path: the file.
        config: of the model, as Keras wrote it; what only training needs is left out.
        keras_version: that wrote it; empty in very old files.
        is_zip: whether it is a ``.keras`` archive, not HDF5.
    """

    path: Path
    config: dict[str, Any]
    keras_version: str
    is_zip: bool

    @property
    def major(self) -> int:
        """The Keras that wrote it: 2 (or older) or 3."""
        first = self.keras_version.split(".")[0]
        return int(first) if first.isdigit() else 2


def open_archive(path: Path) -> Archive:
    """Read the configuration of a saved model; nothing of the file is run.

    Raises:
        ModelError: if the file is missing, empty, not a saved model, damaged, or made to do harm.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a saved Keras model", NOT_A_MODEL)
    if not path.is_file():
        raise ModelError(f"there is no file {path}", NOT_A_MODEL)
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ModelError(f"{path} is empty", NOT_A_MODEL)
    is_hdf5 = head == b"\x89HDF\r\n\x1a\n"
    if is_hdf5 or head.startswith(b"PK"):
        _check_name(path, is_hdf5)
        return _open_hdf5(path) if is_hdf5 else _open_zip(path)
    raise ModelError(f"{path} is neither a .keras archive nor an HDF5 file", NOT_A_MODEL)


def _check_name(path: Path, is_hdf5: bool) -> None:
    """Keras goes by the name: it must not load another configuration than the one judged here."""
    if not is_hdf5 and path.suffix != ".keras":
        raise ModelError(f"{path} is a .keras archive by another name", "name it FILE.keras")
    if is_hdf5 and path.suffix == ".keras" and zipfile.is_zipfile(path):
        raise ModelError(f"{path} is an HDF5 file and a zip archive at once", HARMFUL)


def check_objects(
    archive: Archive, is_builtin: Callable[[str], bool], custom: Collection[str], allow_code: bool
) -> None:
    """Refuse what Keras must not make: code without leave, and classes that nobody gave.

    Args:
        archive: whose configuration is judged.
        is_builtin: whether Keras itself has a class or function of a name.
        custom: names of the user's classes and functions.
        allow_code: whether the user trusts the archive's code.

    Raises:
        ModelError: naming the layer and its class.
    """
    for owner, thing in _objects(archive.config, archive.config.get("config", {})):
        kind = str(thing["class_name"])
        harm = "" if allow_code else _harm(kind, thing.get("config"))
        if harm:
            raise ModelError(
                f"the layer {owner!r} ({kind}) of {archive.path.name} {harm}",
                "type --allow-code to run it, if you trust who made the file",
            )
        name = str(thing["config"]) if kind == "function" else kind
        given = {name, str(thing.get("registered_name"))} & set(custom)
        if not given and not _is_known(thing.get("module"), kind, name, is_builtin):
            raise ModelError(
                f"{_the_layer(owner)}{archive.path.name} needs {name!r},"
                f" which is not part of Keras{_from(thing.get('module'))}",
                f"type --custom FILE.py, with a file that defines {name}",
            )


def _the_layer(owner: str) -> str:
    """A whole model that is subclassed has no name in its configuration."""
    return f"the layer {owner!r} of " if owner else ""


def registered_names(archive: Archive) -> dict[str, str]:
    """Registered name to class name, for every object of the configuration that has both."""
    found = {}
    for _, thing in _objects(archive.config, {}):
        if isinstance(thing.get("registered_name"), str):
            found[thing["registered_name"]] = str(thing["class_name"])
    return found


def _open_zip(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as file:
            _check_members(path, file)
            config = _json(path, file, "config.json")
            metadata = _json(path, file, "metadata.json")
            for member in file.infolist():
                if member.filename.endswith(".h5"):
                    check_member(path, file, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise _damaged(path, error) from error
    except KeyError as error:
        raise ModelError(f"{path} is a zip archive without {error.args[0]}", NOT_A_MODEL) from error
    return Archive(path, _stripped(config), str(metadata.get("keras_version", "")), True)


def _check_members(path: Path, file: zipfile.ZipFile) -> None:
    for member in file.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in member.filename:
            raise ModelError(f"{path} would write outside its folder: {member.filename!r}", HARMFUL)
        if name.suffix == ".npz":
            raise ModelError(f"{path}: {member.filename} can hold code (pickle)", HARMFUL)
        check_size(path, member.filename, member.file_size, member.compress_size)


def _json(path: Path, file: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with file.open(file.getinfo(name) if name in file.namelist() else _missing(name)) as member:
        return _parsed(path, name, _limited(path, member, name))


def _missing(name: str) -> zipfile.ZipInfo:
    raise KeyError(name)


def _limited(path: Path, member: IO[bytes], name: str) -> bytes:
    text = member.read(LIMIT_BYTES + 1)
    if len(text) > LIMIT_BYTES:
        raise ModelError(f"{path}: {name} is larger than {LIMIT_BYTES} bytes", HARMFUL)
    return text


def _parsed(path: Path, name: str, text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: {name} is not JSON: {error}", NOT_A_MODEL) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: {name} is not a JSON object", NOT_A_MODEL)
    return value


def _open_hdf5(path: Path) -> Archive:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            check_hdf5(path, file, path.stat().st_size)
            attributes = {k: file.attrs.get(k) for k in ("model_config", "keras_version")}
            version = attributes["keras_version"] or file.get("model_weights", file).attrs.get(
                "keras_version"
            )
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from error
    config = attributes["model_config"]
    if config is None:
        raise ModelError(
            f"{path} holds weights but no architecture",
            "save the whole model with model.save('FILE.keras'), not its weights alone",
        )
    return Archive(path, _stripped(_parsed(path, "model_config", config)), _text(version), False)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is damaged or cut short: {error}", "copy or download it again")


def _stripped(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("compile_config", "build_config")}


def _objects(value: Any, owner: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a configuration, with the name of the layer that it belongs to."""
    stack = [(value, str(owner.get("name", "")) if isinstance(owner, dict) else "")]
    while stack:
        current, name = stack.pop()
        if isinstance(current, list):
            stack.extend((part, name) for part in reversed(current))
        elif isinstance(current, dict):
            name = _own_name(current) or name
            if isinstance(current.get("class_name"), str):
                yield name, current
            stack.extend((part, name) for part in reversed(current.values()))


def _own_name(thing: dict[str, Any]) -> str:
    config = thing.get("config")
    return str(config.get("name", "")) if "class_name" in thing and isinstance(config, dict) else ""


def _harm(kind: str, config: Any) -> str:
    """What an object would do besides computing; nothing for most."""
    if kind in CODE:
        return "carries code"
    settings = config if isinstance(config, dict) else {}
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        symbol = str(settings.get("function", ""))
        return "" if only_computes(symbol) else f"calls the function {symbol!r}"
    vocabulary = settings.get("vocabulary")
    return f"reads the file {vocabulary!r}" if isinstance(vocabulary, str) else ""


def _is_known(module: Any, kind: str, name: str, is_builtin: Callable[[str], bool]) -> bool:
    if kind.startswith("__") and kind.endswith("__") and not module:
        return True
    if kind != "function" and module not in (None, "builtins"):
        return _is_keras(str(module))
    return is_builtin(name)


def _is_keras(module: str) -> bool:
    """Whether a module is a part of Keras that makes models."""
    package = next((p for p in PACKAGES if module == p or module.startswith(p + ".")), None)
    if package is None:
        return False
    parts = [p for p in module[len(package) :].split(".") if p not in ("", "src", "api", "_v2")]
    return not parts or parts[0] in SECTIONS


def _from(module: Any) -> str:
    return f" (it comes from {module})" if module not in (None, "builtins") else ""
