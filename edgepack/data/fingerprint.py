"""The sha256 of data: of the files it lies in, or of the arrays where no file holds it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.artifact import sha256_of
from edgepack.errors import DataError

if TYPE_CHECKING:
    from edgepack.data.dataset import Dataset


def of_files(files: Iterable[tuple[str, Path]], *notes: str) -> str:
    """The sha256 over names and contents, in the order given.

    Args:
        files: what each file is called, wherever it lies, and its path.
        notes: whatever else the data depends on.

    Raises:
        DataError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in files:
        try:
            digest.update(f"{len(name)}:{name}{sha256_of(path)}".encode())
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", "check its rights") from error
    for note in notes:
        digest.update(f"{len(note)}:{note}".encode())
    return digest.hexdigest()


def code(*modules: str) -> list[tuple[str, Path]]:
    """The files of modules that turn bytes into samples: a change of theirs changes the data."""
    package = Path(__file__).parent.parent
    return [(name, package.joinpath(*name.split(".")).with_suffix(".py")) for name in modules]


def of_dataset(dataset: Dataset) -> str:
    """The sha256 over every array of a data set, its preprocessing and its labels."""
    import numpy as np

    digest = hashlib.sha256(repr((dataset.preprocessing, dataset.labels)).encode())
    for split_name, split in dataset.splits().items():
        for kind, arrays in (("x", split.inputs), ("y", split.outputs)):
            for name, array in sorted(arrays.items()):
                head = (split_name, kind, name, array.dtype.str, array.shape)
                digest.update(repr(head).encode())
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
