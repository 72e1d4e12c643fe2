"""The size of the arena: the smallest that works here, and what a target needs beyond it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.artifact import ETHOSU_OPERATOR
from edgepack.errors import ModelError
from edgepack.micro.host import MAX_ARENA_BYTES, Session
from edgepack.progress import Progress, Reporter, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.micro.scratch import Extra
    from edgepack.target import Target
    from edgepack.tflite.flatbuffer import Graph

TURNS = "tensors that take turns"
"""The part of an arena that is laid out anew for each operator; all other parts stay."""
STEP = 16
"""Bytes to which the smallest arena is found, and of which the constant is a multiple."""


@dataclass(frozen=True)
class Arena:
    """How much memory TensorFlow Lite Micro needs for a model.

    Attributes:
        smallest_bytes: of the arenas that work on this machine; 0 where it cannot run the model.
        recorded_bytes: what the interpreter allocates on this machine in the end.
        margin_bytes: what the target's kernels may need beyond the smallest arena.
        constant_bytes: the size to compile in.
        why: where the numbers come from, in a sentence or two.
        by_kind: the recorded bytes by what they are for.
    """

    smallest_bytes: int
    recorded_bytes: int
    margin_bytes: int
    constant_bytes: int
    why: str
    by_kind: Mapping[str, int]

    @property
    def persistent(self) -> dict[str, int]:
        """The recorded bytes that stay, by what they are for."""
        return {kind: size for kind, size in self.by_kind.items() if kind != TURNS}

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {**vars(self), "by_kind": dict(self.by_kind)}


@cache
def margins() -> Mapping[str, Any]:
    """The table of measured arenas and what is added to one."""
    return tomllib.loads(Path(__file__).with_name("margins.toml").read_text(encoding="utf-8"))


def measure(model: bytes, target: Target, report: Reporter = silent) -> Arena:
    """Find the smallest arena in which a model works here, and the size for a target.

    Works means: it is allocated, invoked, and gives the outputs that it gives in a large arena.

    Args:
        model: the flatbuffer.
        target: says which library of kernels its firmware is built with.
        report: hears of each try.

    Raises:
        MissingExtraError: if TensorFlow Lite Micro is not installed.
        ModelError: if TensorFlow Lite Micro refuses the model or needs more than this machine has.
    """
    from edgepack.micro.scratch import wanted
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(model)
    extra = wanted(graph, target.kernels, target.features)
    if any(operator.code == ETHOSU_OPERATOR for operator in graph.operators):
        return _estimated(model, graph, extra)
    with Session() as session:
        case = session.load(model, [trial_inputs(graph)])
        expected = session.expect(session.run(case)[0])
        recorded = session.allocations(case)

        def works(size: int) -> bool:
            report(Progress("arena", 0, 0, f"trying {size:,} bytes"))
            return session.fits(case, size, expected)

        smallest = smallest_that(works, recorded.total_bytes)
    margin = _margin(graph, extra, smallest)
    by_kind = {TURNS: recorded.head_bytes, **recorded.by_kind}
    constant = -(-(smallest + margin) // STEP) * STEP
    why = _reason(target, smallest, margin, extra)
    return Arena(smallest, recorded.total_bytes, constant - smallest, constant, why, by_kind)


def smallest_that(works: Any, start: int) -> int:
    """The smallest multiple of `STEP` that works: doubled steps up from a start, then bisected.

    Raises:
        ModelError: if none up to the largest works.
    """
    low = max(0, start // STEP * STEP - 2 * STEP)
    while low and works(low):
        low = low // 2 // STEP * STEP
    step = STEP
    while not works(high := low + step):
        low, step = high, 2 * step
        if high > MAX_ARENA_BYTES:
            message = f"TensorFlow Lite Micro runs this model in no arena of {high:,} bytes"
            raise ModelError(message, "make its input or its layers smaller")
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def trial_inputs(graph: Graph) -> list[NDArray[Any]]:
    """A row of inputs that leaves traces everywhere: noise, but 0 for what may be an index."""
    import numpy as np

    random = np.random.default_rng(0)
    row: list[NDArray[Any]] = []
    for tensor in (graph.tensors[i] for i in graph.inputs):
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            row.append(random.normal(size=tensor.shape).astype(dtype))
        elif dtype.itemsize <= 2 and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            row.append(random.integers(limits.min, limits.max, tensor.shape, dtype, endpoint=True))
        else:
            row.append(np.zeros(tensor.shape, dtype))
    return row


def _margin(graph: Graph, extra: Extra, smallest: int) -> int:
    """What kernels of the target need beyond the reference kernels that ran here."""
    from edgepack.micro.memory_plan import plan
    from edgepack.micro.scratch import wanted

    here = wanted(graph, "reference", ())
    higher = plan(graph, extra.scratch).size_bytes - plan(graph, here.scratch).size_bytes
    requests = _count(extra) - _count(here)
    planning = int(margins()["planning_bytes"]) * max(0, requests)
    unknown = int(margins()["unknown_fraction"] * smallest) if extra.unknown else 0
    return max(0, higher, planning) + extra.persistent_bytes + unknown


def _count(extra: Extra) -> int:
    return sum(map(len, extra.scratch.values()))


def _reason(target: Target, smallest: int, margin: int, extra: Extra) -> str:
    kernels = target.kernels or "reference"
    sentences = [f"The smallest arena that works here, with 64-bit pointers: {smallest:,} bytes."]
    if margin:
        sentences += [f"The {kernels} kernels of {target.id} may need {margin:,} bytes more."]
    else:
        sentences += [f"The {kernels} kernels of {target.id} need no more than that."]
    if kernels == "esp-nn":
        sentences += ["Computed from ESP-NN's source, generously, and not tried on a board."]
    if extra.unknown:
        names = ", ".join(extra.unknown)
        sentences += [f"What they need for {names} is not known; a tenth was added for it."]
    return " ".join(sentences)


def _estimated(model: bytes, graph: Graph, extra: Extra) -> Arena:
    """From the plan that vela made, where no host runs the model."""
    from edgepack.micro.offline_plan import planned_arena

    kernels = max((sum(sizes) for sizes in extra.scratch.values()), default=0)
    head = planned_arena(model) + kernels
    sizes = margins()["estimated"]
    counts = {
        "per_tensor": len(graph.tensors),
        "per_operator": len(graph.operators),
        "per_end": len(graph.inputs) + len(graph.outputs),
    }
    tail = sizes["fixed"] + sum(sizes[key] * count for key, count in counts.items())
    total = head + tail + extra.persistent_bytes
    margin = int(margins()["unknown_fraction"] * total)
    constant = -(-(total + margin) // STEP) * STEP
    why = (
        "Estimated: no host runs the ethos-u operator, so this is the plan that vela made, "
        "what structures take with 64-bit pointers, and a tenth more."
    )
    by_kind = {TURNS: head, "structures, estimated": total - head}
    return Arena(0, total, constant - total, constant, why, by_kind)


def measured() -> Sequence[Mapping[str, Any]]:
    """Arenas that were measured on devices: model, core, kernels, used, smallest."""
    rows: Sequence[Mapping[str, Any]] = margins()["measured"]
    return rows
