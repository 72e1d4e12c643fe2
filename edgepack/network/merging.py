"""Merges an adapter into a saved Keras model: weights change where they lie."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.errors import ModelError
from edgepack.network.archive import open_archive
from edgepack.training.adapter import Adapter, Group, digest, positions


def merge(base: Path, adapter: Adapter, out: Path) -> dict[str, list[str]]:
    """Write a saved model with an adapter merged into it; nothing of the model is run.

    A layer is found by the values of its weights, which lie together in one group of the file.

    Args:
        base: a ``.keras`` archive or an HDF5 file.
        adapter: what changes.
        out: the new file, of the same kind.

    Returns:
        For each layer of the adapter that is there, the groups that were changed.

    Raises:
        ModelError: if the base is no saved model, damaged, or made to do harm.
    """
    if not open_archive(base).is_zip:
        shutil.copyfile(base, out)
        return _merge_hdf5(out, adapter)
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(base) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            with tempfile.NamedTemporaryFile(suffix=".h5") as unpacked:
                with old.open(member) as packed:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
                unpacked.flush()
                if member.filename.endswith(".h5"):
                    found |= _merge_hdf5(Path(unpacked.name), adapter)
                info = zipfile.ZipInfo(member.filename, member.date_time)
                info.compress_type = member.compress_type
                with Path(unpacked.name).open("rb") as changed, new.open(info, "w") as packed:
                    shutil.copyfileobj(changed, packed, 1 << 20)
    return found


def _merge_hdf5(path: Path, adapter: Adapter) -> dict[str, list[str]]:
    import h5py

    try:
        with h5py.File(path, "r+") as file:
            return _change(file, adapter)
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"the weights cannot be changed: {error}", "save the model anew"
        ) from error


def _change(file: Any, adapter: Adapter) -> dict[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    sizes = {int(np.prod(p.shape)) for layer in adapter.layers for p in layer.pieces}
    groups = _groups(file, sizes)
    for layer in adapter.layers:
        for group in groups:
            places = positions(layer, group)
            for piece, i in zip(layer.pieces if places else (), places, strict=True):
                stored = file[f"{group.place}/{group.names[i]}"]
                stored[...] = piece.apply(stored[...])
            found[layer.name] += [group.place] if places else []
    return {name: places for name, places in found.items() if places}


def _groups(file: Any, sizes: set[int]) -> list[Group]:
    """The groups with data sets of which some may be a layer's weights."""
    import h5py

    rows = defaultdict(list)

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype == np.float32 and item.size in sizes:
            place, _, own = f"/{name}".rpartition("/")
            rows[place].append((own, frozenset({digest(item[...])})))

    file.visititems(visit)
    return [Group(place, *zip(*sorted(found), strict=True)) for place, found in rows.items()]
