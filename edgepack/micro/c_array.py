"""Writes a model as a constant array in C11 and C++17 that lies in flash and compiles fast."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.errors import InputError
from edgepack.micro.c_names import c_name, file_remark
from edgepack.micro.c_text import (
    END,
    LANGUAGES,
    LONGEST_HEAD,
    Layout,
    comment,
    frame,
    origin,
    words,
)

__all__ = ["LANGUAGES", "Layout", "Written", "array_files", "c_name", "write_array"]

OTHER_PLACE = "take another --name, or name another folder with --out"
OR_FORCE = "take another --name, or --force"


def array_files(
    model: bytes,
    name: str,
    *,
    language: str = "c",
    section: str = "",
    progmem: bool = False,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """The header and the source of a model, by file name; the same model gives the same bytes.

    Args:
        model: the .tflite.
        name: an identifier, see `c_name`.
        language: ``c`` or ``c++``.
        section: the section of the array; empty: the compiler's choice, which lies in flash.
        progmem: put it into PROGMEM where there is such.
        provenance: what stands in the comments, such as the file and versions of tools, by name.

    Raises:
        InputError: if a word is none that C can take, or the model is empty.
    """
    layout = Layout(name, language, section, progmem)
    layout.check()
    if not model:
        raise InputError("an empty model cannot be an array", "convert the model again")
    digest = hashlib.sha256(model).hexdigest()
    remarks = comment(provenance or {}, len(model), digest)
    header, source = frame(layout, len(model), remarks)
    return {layout.header: header, layout.source: b"".join([source, *words(model), END])}


@dataclass(frozen=True)
class Written:
    """What `write_array` left.

    Attributes:
        header: the path of the header.
        source: the path of the source.
        removed: the paths of an earlier run's sources in another language, which are gone.
        size: of the model in bytes.
        sha256: of the model, as hex digits.
    """

    header: Path
    source: Path
    removed: tuple[Path, ...]
    size: int
    sha256: str


def write_array(model: Path, folder: Path, layout: Layout, *, force: bool = False) -> Written:
    """Write header and source of a .tflite into a folder, whole or not at all.

    The model is read once and looked through first; of its text only a block is in memory. What
    an earlier run wrote for a file of the same name is replaced, its other language removed.

    Args:
        model: the .tflite.
        folder: made where it is missing.
        layout: name, language and place of the array.
        force: replace files that edgepack did not write, or wrote for another file, too.

    Raises:
        InputError: if a word is none that C can take, a file is in the way or cannot be written.
        ModelError: if the model is missing, empty, cut off, broken, over 2 GB or no .tflite.
    """
    layout.check()
    header, source = folder / layout.header, folder / layout.source
    removed = tuple(
        path for name in layout.other_sources if _origin(path := folder / name) is not None
    )
    told = file_remark(model.name)
    for path in (header, source, *removed):
        _check_place(path, model)
        if not force:
            _check_origin(path, told)
    data = _read_model(model)
    digest = hashlib.sha256(data).hexdigest()
    head, *rest = frame(layout, len(data), comment({"file": told}, len(data), digest))
    files: dict[Path, Iterable[bytes | bytearray]] = {
        header: [head],
        source: itertools.chain(rest, words(data), [END]),
    }
    _write(folder, files, removed)
    return Written(header, source, removed, len(data), digest)


def _read_model(path: Path) -> memoryview:
    from edgepack.tflite import flatbytes

    data = flatbytes.load(path)
    flatbytes.unpack(data)
    return data.data


def _check_place(path: Path, model: Path) -> None:
    """Refuse to write over the model, or over what is no file, such as a pipe."""
    try:
        if not os.path.lexists(path):
            return
        if not path.is_file():
            raise InputError(f"{path} exists and is no file", OTHER_PLACE)
        if model.exists() and path.samefile(model):
            raise InputError(f"{path} is the model itself", OTHER_PLACE)
    except OSError as error:
        raise _not_written(path, error) from error


def _check_origin(path: Path, told: str) -> None:
    """Refuse to replace a file that was not made from the model that a comment tells so."""
    if not path.exists():
        return
    found = _origin(path)
    if found is None:
        raise InputError(f"{path} exists, and edgepack did not write it", OR_FORCE)
    if found != told:
        raise InputError(f"{path} was made from {found or 'another model'}, not {told}", OR_FORCE)


def _origin(path: Path) -> str | None:
    """The model's file that a file of ours names; None if there is no such file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return origin(file.read(LONGEST_HEAD), path.name)
    except OSError as error:
        raise _not_written(path, error) from error


def _write(
    folder: Path, files: Mapping[Path, Iterable[bytes | bytearray]], removed: Iterable[Path]
) -> None:
    """Write files beside their places, rename them when all are whole, and remove others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".c-array-", dir=folder, ignore_cleanup_errors=True
        ) as beside:
            for path, blocks in files.items():
                with (Path(beside) / path.name).open("xb") as file:
                    file.writelines(blocks)
            for path in files:
                (Path(beside) / path.name).replace(path)
        for path in removed:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(path: Path, error: OSError) -> InputError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "name another folder with --out"
    return InputError(
        f"cannot write {path}: {error.strerror}", f"make room, or {hint}" if full else hint
    )
