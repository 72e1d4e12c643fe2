"""What a package is made of, as plain data, and what can go into none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgepack.errors import ModelError
from edgepack.micro.c_names import check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES: Mapping[str, str] = {
    "bool": "bool",
    "float32": "float",
    "int16": "std::int16_t",
    "int32": "std::int32_t",
    "int64": "std::int64_t",
    "int8": "std::int8_t",
    "uint32": "std::uint32_t",
    "uint8": "std::uint8_t",
}
"""In C++ for each dtype that an input or output may have on TensorFlow Lite Micro."""

ZERO_POINTS = {
    "int16": (-32768, 32767),
    "int32": (0, 0),
    "int8": (-128, 127),
    "uint8": (0, 255),
}
"""Types whose numbers can stand for real ones, and from where to where their zero points go."""

CALL = re.compile(r"Add[A-Z][A-Za-z0-9]*")
LONGEST_LABEL = 1000


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
        name: as the model has it; it may be any text.
        shape: without open dimensions.
        dtype: of `TYPES`.
        scale: of quantization; 0 where there is none.
        zero_point: the stored number for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def is_quantized(self) -> bool:
        """Whether stored numbers stand for real ones."""
        return self.dtype in ZERO_POINTS and self.scale > 0


@dataclass(frozen=True)
class Vector:
    """One golden vector, in stored numbers: an array for each input and each output."""

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Contents:
    """All that a package is written from.

    Attributes:
        name: an identifier, as `edgepack.micro.c_names.c_name` makes it.
        arrays: the model's files by name, as `edgepack.micro.c_array.array_files` makes them.
        model_bytes: the length of the model.
        calls: what the resolver is to be called with, such as ``AddConv2D``, each once.
        arena_bytes: of the arena.
        arena_note: a few sentences: how that was found.
        inputs: in the model's order.
        outputs: in the model's order.
        vectors: at least one; those of a model with a memory run in order, from a fresh start.
        labels: of the classes; none where they are unknown.
        tolerance: steps by which integers may differ from the vectors on the device.
        resource_variables: how many the model has.
        variable_tensors: how many the model has.
        target: the target's name.
        kernels: the library of kernels that is usual there.
        accelerator: that the model was compiled for; empty for none.
        provenance: where the model comes from, by name.
        fit: sentences on flash and RAM; empty where nothing was judged.
        checks: sentences on what was verified; empty where nothing was.
    """

    name: str
    arrays: Mapping[str, bytes]
    model_bytes: int
    calls: tuple[str, ...]
    arena_bytes: int
    arena_note: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    vectors: tuple[Vector, ...]
    labels: tuple[str, ...] = ()
    tolerance: int = 0
    resource_variables: int = 0
    variable_tensors: int = 0
    target: str = ""
    kernels: str = ""
    accelerator: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    fit: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def keeps_state(self) -> bool:
        """Whether an inference depends on those before it."""
        return self.resource_variables > 0 or self.variable_tensors > 0

    def check(self) -> None:
        """Refuse what cannot be written as C.

        Raises:
            InputError: if the name is no identifier.
            ModelError: if a port, a vector, a label or a call of the resolver is of no use.
        """
        check_name(self.name)
        for port in self.inputs + self.outputs:
            _check_port(port)
        for number, vector in enumerate(self.vectors):
            _check_vector(number, vector.inputs, self.inputs, "input")
            _check_vector(number, vector.outputs, self.outputs, "output")
        if not self.vectors or not self.outputs:
            hint = "give a model with outputs"
            raise ModelError("a package needs an output and a golden vector", hint)
        for call in self.calls:
            if not CALL.fullmatch(call):
                raise ModelError(f"the resolver has no call {call!r}")
        for label in self.labels:
            if len(label) > LONGEST_LABEL:
                hint = f"a label has {LONGEST_LABEL} letters at most"
                raise ModelError(f"the label {label[:40]!r}... has {len(label)} letters", hint)


def _check_port(port: Port) -> None:
    what = f"{port.name!r} {port.dtype}{list(port.shape)}"
    if port.dtype not in TYPES:
        hint = f"an input or output on a microcontroller is one of {', '.join(TYPES)}"
        raise ModelError(f"{what} is of a type without a place there", hint)
    if min(port.shape, default=1) < 1:
        raise ModelError(f"{what} has no fixed number of values", "convert with a fixed shape")
    if port.is_quantized and not _is_quantization(port):
        raise ModelError(
            f"{what} has scale {port.scale} and zero point {port.zero_point}",
            "convert the model again: its quantization is broken",
        )


def _is_quantization(port: Port) -> bool:
    low, high = ZERO_POINTS[port.dtype]
    return math.isfinite(port.scale) and low <= port.zero_point <= high


def _check_vector(
    number: int, arrays: tuple[NDArray[Any], ...], ports: tuple[Port, ...], side: str
) -> None:
    found = [(str(array.dtype), array.size) for array in arrays]
    wanted = [(port.dtype, port.size) for port in ports]
    if found != wanted:
        raise ModelError(f"golden vector {number}: the {side}s are {found}, not {wanted}")
