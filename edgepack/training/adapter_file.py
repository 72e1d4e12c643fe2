"""Adapters as files: ``.npz`` without pickle; what is read is bounded and checked, never run."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import ModelError
from edgepack.store import versions
from edgepack.training.adapter import Adapter, Layer, Piece, Update

FORMAT = "edgepack adapter 1"

MEMBERS = {"header": "|u1", "numbers": "<f4", "masks": "|u1"}
"""The arrays of a file and their types: JSON, all floats and all masks, in the header's order."""

LIMIT_BYTES = 1 << 28
"""An adapter of more than a quarter of a gigabyte is none."""
LIMIT_SIZE = 1 << 28
"""Values of one weight."""
DIGEST = re.compile(r"[0-9a-f]{64}")

NO_ADAPTER = "give the lora.adapter.npz of a bundle that was built with lora.apart=true"

UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OverflowError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError, MemoryError),
)
"""What zipfile, json and numpy answer to bytes that are none of theirs."""


def dump(adapter: Adapter) -> bytes:
    """An adapter's bytes, which depend on nothing else but the versions of the packages."""
    pieces = [piece for layer in adapter.layers for piece in layer.pieces]
    layers = [
        {"name": layer.name, "weights": [_described(piece) for piece in layer.pieces]}
        for layer in adapter.layers
    ]
    told = {"format": FORMAT, "versions": versions(), "layers": layers}
    numbers, masks = [np.zeros(0, np.float32)], [np.zeros(0, np.uint8)]
    for change in (piece.change for piece in pieces):
        if isinstance(change, Update):
            numbers += [change.a, change.b]
            masks += [] if change.mask is None else [change.mask]
        elif change is not None:
            numbers.append(change)
    file = io.BytesIO()
    np.savez(
        file,
        header=np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8),
        numbers=np.concatenate([x.ravel() for x in numbers]),
        masks=np.concatenate(masks),
    )
    return file.getvalue()


def _described(piece: Piece) -> dict[str, Any]:
    row = {"name": piece.word, "shape": list(piece.shape), "sha256": piece.before}
    if piece.change is None:
        return row
    row["result"] = piece.after
    if not isinstance(piece.change, Update):
        return row
    told = {"rank": piece.change.b.shape[0], "scale": piece.change.scale}
    return {**row, **told, "masked": piece.change.mask is not None}


def read(path: Path) -> Adapter:
    """Read an adapter that `dump` gave.

    Raises:
        ModelError: if it is none, damaged, or made to do harm.
    """
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise ValueError(f"it is larger than {LIMIT_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            header, numbers, masks = (_array(archive, name) for name in MEMBERS)
        told = json.loads(header.tobytes())
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {told['format']!r}, not {FORMAT!r}")
        taken = _Taken(numbers, masks)
        adapter = Adapter(tuple(_layer(row, taken) for row in told["layers"]))
        if any(len(rest) for rest in (taken.numbers, taken.masks)):
            raise ValueError("it has more numbers than its header tells of")
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}", NO_ADAPTER) from error
    except (*UNREADABLE, RecursionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path} is no adapter, or a damaged one: {reason}", NO_ADAPTER) from error
    return adapter


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array, whose size is known before memory is taken for it."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > LIMIT_BYTES:
        raise ValueError(f"{name} is compressed, or too large")
    npy: Any = np.lib.format
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is no array of the first version")
        shape, _, dtype = npy.read_array_header_1_0(file)
        content = file.read()
    if dtype.str != MEMBERS[name] or shape != (len(content) // dtype.itemsize,):
        raise ValueError(f"{name} is of the type {dtype} and the shape {shape}")
    return np.frombuffer(content, dtype)


@dataclass
class _Taken:
    """What of the arrays is still to be taken."""

    numbers: NDArray[Any]
    masks: NDArray[Any]

    def floats(self, *shape: int) -> NDArray[Any]:
        """The next numbers."""
        size = math.prod(shape)
        found, self.numbers = self.numbers[:size], self.numbers[size:]
        if not np.isfinite(found).all():
            raise ValueError("a number of it is not finite")
        return found.reshape(shape)

    def mask(self, size: int) -> NDArray[Any]:
        """The next mask."""
        length = -(-size // 8)
        found, self.masks = self.masks[:length], self.masks[length:]
        return found.reshape(length)


def _layer(row: Mapping[str, Any], taken: _Taken) -> Layer:
    pieces = tuple(_pieces(row["weights"], taken))
    if not pieces:
        raise ValueError(f"the layer {row['name']!r} has no weights")
    return Layer(str(row["name"]), pieces)


def _pieces(rows: Any, taken: _Taken) -> Iterator[Piece]:
    for row in rows:
        name, shape, before = str(row["name"]), tuple(row["shape"]), row["sha256"]
        after = row.get("result", before)
        if not all(type(n) is int and n > 0 for n in shape) or math.prod(shape) > LIMIT_SIZE:
            raise ValueError(f"{name} has the shape {shape}")
        if not all(DIGEST.fullmatch(word) for word in (before, after)):
            raise ValueError(f"{name} has no sha256")
        yield Piece(name, shape, before, after, _change(shape, row, taken))


def _change(
    shape: tuple[int, ...], row: Mapping[str, Any], taken: _Taken
) -> Update | NDArray[Any] | None:
    if "result" not in row:
        return None
    if "rank" not in row:
        return taken.floats(*shape)
    rows, columns, rank, scale = math.prod(shape[:-1]), shape[-1], row["rank"], row["scale"]
    if type(rank) is not int or not 0 < rank < LIMIT_SIZE or not math.isfinite(scale):
        raise ValueError(f"an update is of rank {rank} times {scale}")
    ends = taken.floats(rows, rank), taken.floats(rank, columns)
    return Update(*ends, scale, taken.mask(math.prod(shape)) if row["masked"] else None)
