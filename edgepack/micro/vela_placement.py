"""Tells which operators of a model run on the Ethos-U and which stay on the CPU, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgepack.artifact import ETHOSU_OPERATOR
from edgepack.errors import StepError
from edgepack.micro.offline_plan import OfflinePlan, read_plan
from edgepack.table import printable

if TYPE_CHECKING:
    from edgepack.micro.vela import Compilation
    from edgepack.tflite.subgraph import Graph, Operator, Tensor


@dataclass(frozen=True)
class OnCpu:
    """Operators of one kind that stay on the CPU.

    Attributes:
        operator: such as ``SVDF``.
        count: how many.
        reasons: vela's words; none where it does not say.
    """

    operator: str
    count: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """What became of the operators of a model.

    Attributes:
        total: operators before.
        parts: operators ``ethos-u`` afterwards: each is a start of the accelerator.
        on_cpu: what stays on the CPU, the most frequent first.
        plan: the memory of the compiled model.
        rows: each operator before, with its layer, its place and vela's cycles.
        made: the compiled model, with vela's estimates.
    """

    total: int
    parts: int
    on_cpu: tuple[OnCpu, ...]
    plan: OfflinePlan
    rows: tuple[dict[str, Any], ...]
    made: Compilation

    @property
    def mapped(self) -> int:
        """Operators that the Ethos-U computes."""
        return max(self.total - sum(row.count for row in self.on_cpu), 0)

    def reasons(self) -> tuple[str, ...]:
        """A sentence for each reason why operators stay on the CPU."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for row in self.on_cpu:
            groups.setdefault(row.reasons, []).append(f"{row.count} {row.operator}")
        return tuple(
            f"{', '.join(kinds)} on the CPU{': ' if why else ''}{' or '.join(why)}"
            for why, kinds in groups.items()
        )

    def facts(self) -> dict[str, Any]:
        """Placement and estimates as plain data."""
        return {
            "compiler": f"vela {self.made.version}",
            "note": "cycles, times and memory are estimates of vela; nothing was measured",
            "mapped": self.mapped,
            "on_cpu": sum(row.count for row in self.on_cpu),
            "parts": self.parts,
            "estimates": self.made.estimates.facts(),
            "memory_plan": asdict(self.plan) | {"arena_bytes": self.plan.arena_bytes},
            "cpu_operators": [asdict(row) for row in self.on_cpu],
            "operators": list(self.rows),
        }

    def remarks(self, accelerator: str) -> Iterator[str]:
        """Sentences for the manifest and the screen."""
        yield f"{self.mapped} of {self.total} operators run on the {accelerator}"
        yield from self.reasons()
        told = self.made.estimates
        used = [f"{size:,} bytes of {_words(k)}" for k, size in told.memory_bytes.items() if size]
        yield (
            f"estimated by vela {self.made.version}: {told.inference_ms:.3g} ms for one inference"
            f" at {told.clock_hz / 1e6:.0f} MHz{', without the CPU' if self.on_cpu else ''};"
            f" {', '.join(used)}"
        )
        yield from (f"vela warns: {warning}" for warning in self.made.talk.warnings)


def place(model: bytes, made: Compilation) -> Placement:
    """Compare a model with what vela made of it.

    Raises:
        StepError: if its inputs or outputs are not what they were: the caller would feed wrongly.
        ModelError: if one of the files is broken.
    """
    from edgepack.tflite.flatbuffer import read_graph

    before, after = read_graph(model), read_graph(made.model)
    _check_ends(before, after)
    operators = list(_operators(after))
    staying = Counter(o.code for o in operators if o.code != ETHOSU_OPERATOR)
    reasons = made.talk.reasons
    return Placement(
        total=len(list(_operators(before))),
        parts=sum(o.code == ETHOSU_OPERATOR for o in operators),
        on_cpu=tuple(
            OnCpu(printable(code), n, reasons.get(code, ())) for code, n in staying.most_common()
        ),
        plan=read_plan(made.model),
        rows=tuple(_rows(before, made)),
        made=made,
    )


def _rows(before: Graph, made: Compilation) -> Iterator[dict[str, Any]]:
    """Cycles of what stays on the CPU are unknown to vela, and left out."""
    for row in made.operators:
        if row.index >= len(before.operators):
            continue
        operator = before.operators[row.index]
        told = {"index": row.index, "operator": printable(operator.code), "layer": operator.layer}
        costs = {} if row.on_cpu else {"cycles": row.cycles, "macs": row.macs}
        yield told | {"runs_on": "cpu" if row.on_cpu else "ethos-u"} | costs


def _operators(graph: Graph) -> Iterator[Operator]:
    for part in (graph, *graph.bodies):
        yield from part.operators


def _check_ends(before: Graph, after: Graph) -> None:
    for name in ("inputs", "outputs"):
        was, now = ([*map(_end, _ends(graph, name))] for graph in (before, after))
        if was != now:
            raise StepError(
                f"vela changed the {name} of the model from {was} to {now}",
                "report it to Arm with the model that the step before leaves",
            )


def _ends(graph: Graph, name: str) -> Iterator[Tensor]:
    return (graph.tensors[index] for index in getattr(graph, name))


def _end(tensor: Tensor) -> tuple[Any, ...]:
    """What a caller must know of an input or output; what is open until run time counts 1."""
    shape = tuple(max(n, 1) for n in tensor.shape)
    return shape, tensor.dtype, tensor.scale, tensor.zero_point


def _words(kind: str) -> str:
    return {"sram": "SRAM", "dram": "DRAM"}.get(kind, kind.replace("_", " "))
