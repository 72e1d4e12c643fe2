"""The bytes of a .tflite to schema objects and back; a hostile file is refused, never followed."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepack.errors import ModelError

IDENTIFIER = b"TFL3"
MAX_BYTES = (1 << 31) - 1
"""Offsets in a flatbuffer are signed 32-bit numbers."""
MAX_TABLES = 250_000
"""Tensors, operators and the like in one file; the largest models seen have some 20,000."""
MAX_NUMBERS = 4_000_000
"""Shapes, scales, indices: the numbers of a file that become Python objects."""
MAX_DECODED = 1 << 26
"""Values of sparse and 4-bit constants, once decoded, beyond four for each byte of the file."""
LARGE = 1 << 26
"""From so many bytes on, a file is looked through before it is read into memory."""
ALIGNMENT = 16
"""Bytes to which kernels want constants aligned: ``force_align`` of Buffer.data in schema.fbs."""

CHILDREN = {
    "Model": ("OperatorCodes", "Subgraphs", "Buffers", "Metadata", "SignatureDefs"),
    "SubGraph": ("Tensors", "Operators"),
    "Tensor": ("VariantTensors",),
    "SparsityParameters": ("DimMetadata",),
    "SignatureDef": ("Inputs", "Outputs"),
}
"""The vectors of tables in the schema, which could claim to be as long as they like."""

BROKEN = "copy the file again, or convert the model again"


class Contents(np.ndarray[Any, np.dtype[np.uint8]]):
    """A file's bytes; strings cut from them must lie inside and not add up to more than the file.

    The generated code cuts strings with lengths that it reads from the file. What overruns the
    end it cuts short in silence, and the same bytes may serve for a thousand names. This is an
    array, as one of those looks at bytes where they lie and copies none.
    """

    cut = 0

    @classmethod
    def of(cls, data: bytes | mmap.mmap) -> Contents:
        """A view of bytes, which cannot be written to."""
        return np.frombuffer(data, np.uint8).view(cls)

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if isinstance(key, slice):
            self.cut += len(part)
            if len(part) != key.stop - key.start or self.cut > len(self):
                raise ValueError("a string does not fit in the file")
        return part


class Writer(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that aligns raw bytes, and writes equal vectors of numbers once."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._written: dict[tuple[str, bytes], int] = {}

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        """Begin a vector; raw bytes at a multiple of `ALIGNMENT`."""
        return super().StartVector(size, count, ALIGNMENT if size == 1 else alignment)

    def CreateNumpyVector(self, x: NDArray[Any]) -> Any:  # noqa: N802
        """Write an array; one of equal numbers is pointed to again."""
        if x.itemsize == 1:
            return super().CreateNumpyVector(x)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def load(source: Path | str | bytes) -> Contents:
    """The bytes of a file, or of a model in memory, after a look at their number and first bytes.

    Raises:
        ModelError: if there is no such file, or it cannot be a .tflite.
    """
    if isinstance(source, bytes):
        _check_size(len(source), "the model")
        _check_identifier(source[4:8])
        return Contents.of(source)
    return _read(Path(source))


def _read(path: Path) -> Contents:
    """A file's bytes; one that is large and cannot be a .tflite is not read to its end."""
    try:
        size = path.stat().st_size
        _check_size(size, str(path))
        with path.open("rb", buffering=0) as file:
            _check_identifier(file.read(8)[4:])
            if size >= LARGE:
                unpack(Contents.of(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
            file.seek(0)
            return Contents.of(file.readall())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", "check the path") from error


def _check_identifier(found: bytes) -> None:
    if found != IDENTIFIER:
        raise ModelError(
            f"this is not a .tflite file: its bytes 4 to 8 are {found!r}, not b'TFL3'",
            "give a file that the TFLite converter wrote",
        )


def _check_size(size: int, name: str) -> None:
    if size == 0:
        raise ModelError(f"{name} is empty", BROKEN)
    if size < 8:
        raise ModelError(f"{name} has {size} bytes, too few for a .tflite", BROKEN)
    if size > MAX_BYTES:
        raise ModelError(
            f"{name} has {size} bytes, more than the 2 GB of a .tflite with its weights inside",
            "split the model or make it smaller first",
        )


def unpack(data: Contents) -> Any:
    """The schema's ModelT; constants are views of the bytes, every index in it is within bounds.

    Raises:
        ModelError: if anything points outside the file, or it claims to hold more than it can.
    """
    try:
        root = schema.Model.GetRootAs(data, 0)
        _count_tables(root, len(data))
        model = schema.ModelT.InitFromObj(root)
        _settle(model, data)
        _check_indices(model)
        _check_decoded(model, len(data))
    except (struct.error, TypeError, ValueError, OverflowError, AttributeError) as error:
        # What the generated code raises where an offset leads astray.
        raise ModelError(f"the .tflite file is broken: {error}", BROKEN) from error
    return model


def pack(model: Any) -> bytes:
    """The bytes of a ModelT, constants aligned; the same model always gives the same bytes."""
    writer = Writer()
    writer.Finish(model.Pack(writer), IDENTIFIER)
    return bytes(writer.Output())


def _count_tables(root: Any, size: int) -> None:
    waiting, found = [root], 0
    while waiting:
        table = waiting.pop()
        for field in CHILDREN.get(type(table).__name__, ()):
            count = getattr(table, field + "Length")()
            found += count
            if found > min(MAX_TABLES, size // 4):
                raise ValueError(f"it claims to hold {found} tables")
            child = getattr(table, field)
            waiting += (child(i) for i in range(count))
        if isinstance(table, schema.Tensor) and (sparsity := table.Sparsity()):
            waiting.append(sparsity)


def _settle(model: Any, data: Contents) -> None:
    """Give every list that may be missing, and bring in what lies behind the flatbuffer."""
    if model.externalBuffers:
        raise ValueError("its weights lie in other files, which edgepack does not read")
    for owner in (model, *(model.subgraphs or ())):
        for name in ("operatorCodes", "buffers", "subgraphs", "tensors", "operators"):
            if getattr(owner, name, ()) is None:
                setattr(owner, name, [])
    if not model.subgraphs:
        raise ValueError("it holds no graph")
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    for operator in (o for graph in model.subgraphs for o in graph.operators):
        if operator.largeCustomOptionsOffset > 1:
            where = (operator.largeCustomOptionsSize, operator.largeCustomOptionsOffset)
            operator.customOptions = np.frombuffer(data, np.uint8, *where)
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _check_indices(model: Any) -> None:
    if _numbers(model.subgraphs) > MAX_NUMBERS:
        raise ValueError(f"it claims to hold more than {MAX_NUMBERS} shapes and scales")
    _check_range("buffer", (m.buffer for m in model.metadata or ()), len(model.buffers))
    for graph in model.subgraphs:
        count = len(graph.tensors)
        _check_range("buffer", (t.buffer for t in graph.tensors), len(model.buffers))
        _check_range("operator code", _of(graph, "opcodeIndex"), len(model.operatorCodes))
        for operator in (graph, *graph.operators):
            for which in (operator.inputs, operator.outputs):
                low = 0 if operator is graph else -1
                _check_range("tensor", () if which is None else which, count, low)
    for signature in model.signatureDefs or ():
        _check_range("signature's graph", [signature.subgraphIndex], len(model.subgraphs))
        count = len(model.subgraphs[signature.subgraphIndex].tensors)
        maps = (*(signature.inputs or ()), *(signature.outputs or ()))
        _check_range("signature's tensor", (m.tensorIndex for m in maps), count)


def _check_decoded(model: Any, size: int) -> None:
    tensors = (t for graph in model.subgraphs for t in graph.tensors)
    shapes = [
        t.shape for t in tensors if t.sparsity is not None or t.type == schema.TensorType.INT4
    ]
    total = sum(math.prod(map(int, shape)) for shape in shapes if shape is not None)
    if total > MAX_DECODED + 4 * size:
        raise ValueError(f"its sparse and 4-bit constants stand for {total} values")


def _of(graph: Any, field: str) -> Iterator[int]:
    return (getattr(operator, field) for operator in graph.operators)


def _check_range(name: str, indices: Any, count: int, low: int = 0) -> None:
    for index in indices:
        if not low <= index < count:
            raise ValueError(f"there is no {name} {index}, only {count}")


def _numbers(thing: Any) -> int:
    if isinstance(thing, np.ndarray):
        return int(thing.size)
    if isinstance(thing, list):
        return sum(_numbers(item) for item in thing)
    kept = {"sparsity": None, "customOptions": None}  # These stay arrays.
    fields = {**vars(thing), **kept} if hasattr(thing, "__dict__") else {}
    return sum(_numbers(value) for value in fields.values())
