"""Judges an HDF5 file of weights by its metadata: nothing outside the file may become a weight."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepack.errors import ModelError

BOMB_RATIO, BOMB_BYTES = 200, 1 << 28
"""What unpacks to more than this many times its size, and to more than this, is refused."""

IN_MEMORY = 1 << 25
"""Bytes of weights that are unpacked without a file."""

HARMFUL = "do not use it; Keras saves no such file"


def check_size(path: Path, name: str, unpacked: int, packed: int) -> None:
    """Refuse a part of a file that unpacks to far more bytes than it has.

    Raises:
        ModelError: naming the file and its part.
    """
    if unpacked > max(BOMB_BYTES, BOMB_RATIO * packed):
        raise ModelError(
            f"{path}: {name} unpacks to {unpacked} bytes from {packed}, which no model does",
            HARMFUL,
        )


def check_hdf5(path: Path, file: Any, size: int) -> None:
    """Refuse links, data sets kept in other files, and data sets far larger than the file.

    Args:
        path: that errors name.
        file: an open ``h5py.File``; no data set is read.
        size: of the file, in bytes.

    Raises:
        ModelError: naming the link or the data set.
    """
    for name, item in _items(path, file):
        if item.external or item.is_virtual:
            raise ModelError(f"{path}: the numbers of {name} come from another file", HARMFUL)
        check_size(path, name, item.nbytes, size)


def _items(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """Every data set of a file, by its path; each object once, for a group can hold itself."""
    import h5py

    waiting, seen = [file], set()
    while waiting:
        group = waiting.pop()
        for key in group:
            name = f"{group.name}/{key}".lstrip("/")
            _check_link(path, name, group.get(key, getlink=True))
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and address not in seen:
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                yield name, item
            seen.add(address)


def _check_link(path: Path, name: str, link: Any) -> None:
    import h5py

    if isinstance(link, h5py.ExternalLink):
        raise ModelError(f"{path}: {name} is a link to another file, {link.filename}", HARMFUL)
    if not isinstance(link, h5py.HardLink):
        where = getattr(link, "path", "which is not named")
        raise ModelError(f"{path}: {name} is a link to another place, {where}", HARMFUL)


def check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Judge an HDF5 file within a zip archive; a large one is unpacked to disk, not to memory.

    Raises:
        ModelError: as ``check_hdf5``, or if the disk is full.
        OSError: if the member is no HDF5 file, or a damaged one.
    """
    import h5py

    with archive.open(member) as packed, tempfile.SpooledTemporaryFile(IN_MEMORY) as unpacked:
        try:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise ModelError(
                f"{tempfile.gettempdir()} has no room to unpack {member.filename} of {path}"
                f" ({member.file_size} bytes): {error.strerror}",
                "free some space there, or name another folder: TMPDIR=FOLDER edgepack ...",
            ) from error
        with h5py.File(unpacked, "r") as file:
            check_hdf5(path, file, member.file_size)
