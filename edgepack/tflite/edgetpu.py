"""Tells before it is compiled which operators of a .tflite the Edge TPU would leave to the CPU.

By Coral's documentation, see ``edgetpu_operators.toml``: the compiler itself may know better.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgepack.artifact import EDGETPU_OPERATOR
from edgepack.tflite import edgetpu_conditions
from edgepack.tflite.edgetpu_conditions import one_scale
from edgepack.tflite.flatbuffer import Graph, Operator, Tensor, is_quantized
from edgepack.tflite.subgraph import CODES
from edgepack.tflite.weight_layout import input_of

TABLE = Path(__file__).with_name("edgetpu_operators.toml")
RUNTIME = 14
"""The newest version of Coral's runtime, of libedgetpu 16.0: what the compiler compiles for."""

EIGHT_BITS = frozenset({"int8", "uint8"})
CONSTANTS = EIGHT_BITS | {"int32", "int64"}
INNER = 3
"""Only so many dimensions, the innermost, may be larger than 1."""


@dataclass(frozen=True)
class Placement:
    """Where one operator would run.

    Attributes:
        operator: of the model.
        reasons: why it would run on the CPU; none where the Edge TPU takes it.
        note: what may keep it on the CPU nevertheless.
    """

    operator: Operator
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def title(self) -> str:
        """The operator with its layer, or its number where names are stripped."""
        return f"{self.operator.layer or self.operator.index} ({self.operator.code})"


@dataclass(frozen=True)
class Forecast:
    """What the compiler is expected to make of a model.

    Attributes:
        placements: of each operator, in the order of execution.
        problems: why the compiler would refuse the whole model, or take it wrongly.
        quantization: of the model, as `is_quantized` says it.
    """

    placements: tuple[Placement, ...]
    problems: tuple[str, ...]
    quantization: str

    @property
    def on_cpu(self) -> tuple[Placement, ...]:
        """The operators that would not run on the Edge TPU."""
        return tuple(placement for placement in self.placements if placement.reasons)

    @property
    def mapped(self) -> int:
        """How many operators would run on the Edge TPU."""
        return len(self.placements) - len(self.on_cpu)

    def reasons(self, most: int) -> str:
        """The problems and the first operators that stay on the CPU, in one sentence each."""
        causes = [f"{p.title}: {'; '.join(p.reasons)}" for p in self.on_cpu]
        told = [*self.problems, *causes][:most]
        return ". ".join(told)


def forecast(graph: Graph, runtime: int = RUNTIME, *, parts: bool = False) -> Forecast:
    """Judge every operator of a model; any model that can be read can be judged.

    Args:
        graph: of the .tflite.
        runtime: the version of Coral's runtime on the board.
        parts: whether the compiler may make several parts, and not only the first.
    """
    own = [tuple(_reasons(graph, operator, runtime)) for operator in graph.operators]
    later = {} if parts else _followers(graph, own)
    placements = tuple(
        Placement(o, own[i] or later.get(i, ()), _table().get(o.code, {}).get("note", ""))
        for i, o in enumerate(graph.operators)
    )
    return Forecast(placements, tuple(_problems(graph)), is_quantized(graph))


@cache
def _tables() -> Mapping[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = _tables()["operators"]
    return table


def _problems(graph: Graph) -> Iterator[str]:
    """Why the compiler would refuse the whole model, or take it wrongly."""
    if any(o.code == EDGETPU_OPERATOR for o in graph.operators):
        yield "the model is compiled for the Edge TPU already"
        return
    quantization = is_quantized(graph)
    if quantization not in EIGHT_BITS:
        yield (
            "the Edge TPU computes in 8 bits only, and this model is"
            f" {quantization or 'in floats'}: convert it to int8"
        )
    used = {i for o in graph.operators for i in (*o.inputs, *o.outputs) if i >= 0}
    if count := sum(bool(graph.tensors[i].open_at) for i in used):
        yield f"{count} x tensor of a size that is open until run time: convert with a fixed batch"
    for code, version in sorted({(o.code, o.version) for o in graph.operators}):
        if _is_too_new(code, version):
            yield f"{code} version {version} is newer than the compiler, which refuses such a model"
    many = [o for o in graph.operators if o.code == "FULLY_CONNECTED" and one_scale(graph, o)]
    if many:
        yield (
            f"{len(many)} x FULLY_CONNECTED with a scale for each unit, of which its compiler"
            " knows nothing: convert with --set convert.per_channel_dense=false"
        )


def _is_too_new(code: str, version: int) -> bool:
    """Whether the compiler's TFLite does not know an operator of TFLite's own in this version."""
    if code in _table():
        return version > int(_table()[code]["newest"])
    builtin = code in CODES.values() or code.startswith("BUILTIN_")
    return builtin and version > int(_tables()["newest"].get(code, 0))


def _reasons(graph: Graph, operator: Operator, runtime: int) -> Iterator[str]:
    """Why the Edge TPU does not compute an operator."""
    if operator.code == EDGETPU_OPERATOR:
        return
    entry = _table().get(operator.code)
    if entry is None:
        yield "the Edge TPU has no such operator"
        return
    if runtime < entry["runtime"]:
        yield f"it needs version {entry['runtime']} of the Edge TPU runtime, not {runtime}"
    if _is_too_new(operator.code, operator.version):
        yield f"its version {operator.version} is newer than the compiler"
    yield from _tensor_reasons(graph, operator)
    for position in entry.get("constants", ()):
        tensor = input_of(graph, operator, position)
        if tensor is not None and not tensor.is_constant:
            yield f"its input {position} is computed, but must be a constant"
    for name in entry.get("conditions", ()):
        if reason := getattr(edgetpu_conditions, name)(graph, operator):
            yield reason


def _tensor_reasons(graph: Graph, operator: Operator) -> Iterator[str]:
    """What is wrong with an operator's inputs and outputs, each thing said once."""
    used = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    constants = [t for t in used if t.is_constant]
    data = [t for t in used if not t.is_constant and not t.is_variable]
    if odd := sorted({t.dtype for t in data} - EIGHT_BITS):
        yield f"it computes with {', '.join(odd)}"
    if odd := sorted({t.dtype for t in constants} - CONSTANTS):
        yield f"it has constants of {', '.join(odd)}"
    if any(t.sparsity is not None for t in constants):
        yield "its constants are encoded sparsely"
    if any(t.open_at for t in used):
        yield "its size is open until run time"
    if deep := next((t for t in data if _is_deep(t)), None):
        yield f"its tensor {'x'.join(map(str, deep.shape))} has more than {INNER} dimensions"


def _is_deep(tensor: Tensor) -> bool:
    return any(n > 1 for n in tensor.shape[:-INNER])


def _followers(graph: Graph, own: list[tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    """Operators that need what the CPU computes: the compiler makes one part, which comes first.

    What quantizes the model's inputs may come before that part.
    """
    culprits: dict[int, str] = {}
    found: dict[int, tuple[str, ...]] = {}
    for i, operator in enumerate(graph.operators):
        sources = [culprits[t] for t in operator.inputs if t in culprits]
        if own[i] and not _is_entrance(graph, operator):
            source = f"{operator.layer or operator.index} ({operator.code})"
        elif sources and not own[i]:
            source = sources[0]
            found[i] = (f"it comes after {source}, which runs on the CPU",)
        else:
            continue
        culprits |= dict.fromkeys(operator.outputs, source)
    return found


def _is_entrance(graph: Graph, operator: Operator) -> bool:
    return operator.code == "QUANTIZE" and set(operator.inputs) <= set(graph.inputs)
