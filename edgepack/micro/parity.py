"""Compares TensorFlow Lite Micro with LiteRT on one model, operator by operator on equal inputs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgepack.errors import ModelError
from edgepack.micro.host import NAMES, Case, Runtime, Session
from edgepack.progress import Progress, Reporter, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.tflite.flatbuffer import Graph, Operator

Inputs = Sequence[Sequence["NDArray[Any]"]]
Values = Mapping[int, list["NDArray[Any]"]]
"""By tensor, its values in each invocation."""

Outcome = Literal["equal", "explained", "different", "not compared"]
Verdict = Literal["exact", "explained", "different"]

REFERENCES: tuple[Runtime, ...] = ("litert-reference", "litert-xnnpack")
WHOLE = -1
"""In place of an operator's index: the outputs of the whole model."""
FLOAT_TOLERANCE = 1e-4
"""Of the largest value of an operator's output: sums of 32-bit numbers in another order."""
WEAK = 3
"""Distinct values below which equal outputs prove little."""
MAX_KEPT_BYTES = 1 << 28
"""Of tensors that are kept for comparison; of a large model fewer invocations are compared."""


@dataclass(frozen=True)
class Row:
    """One comparison with TensorFlow Lite Micro.

    Attributes:
        operator: its index; `WHOLE` for the outputs of the whole model.
        code: its kind.
        layer: that it comes from; empty where names are stripped.
        runtime: what was compared.
        outcome: equal, explained, different or not compared.
        largest: difference: in steps of the stored integers, or in real numbers.
        differing: values that differ.
        values: all values that were compared.
        reason: why a difference is explained, or why nothing was compared.
    """

    operator: int
    code: str
    layer: str
    runtime: Runtime
    outcome: Outcome
    largest: float = 0.0
    differing: int = 0
    values: int = 0
    reason: str = ""

    @property
    def sentence(self) -> str:
        """For people."""
        layer = f" ({self.layer})" if self.layer else ""
        what = (
            "the whole model" if self.operator == WHOLE else f"{self.code} {self.operator}{layer}"
        )
        if self.outcome == "equal":
            return f"{what}: equal to {NAMES[self.runtime]} in {self.values:,} values"
        if self.outcome == "not compared":
            return f"{what}: not compared: {self.reason}"
        much = f"by up to {self.largest:g} in {self.differing:,} of {self.values:,} values"
        why = f": {self.reason}" if self.reason else ""
        return f"{what}: differs from {NAMES[self.runtime]} {much}{why}"


@dataclass(frozen=True)
class Parity:
    """How TensorFlow Lite Micro compares with LiteRT on one model.

    Attributes:
        verdict: exact where all that was compared is equal to the last bit.
        rows: of every operator and of the whole model, for each runtime.
        weak: operators whose outputs take too few values to prove much, by index.
        invocations: that were compared.
    """

    verdict: Verdict
    rows: tuple[Row, ...]
    weak: tuple[int, ...]
    invocations: int

    @property
    def first(self) -> Row | None:
        """The first operator that differs without an explanation; the whole model after all."""
        wrong = [row for row in self.rows if row.outcome == "different"]
        return min(wrong, key=lambda row: (row.operator == WHOLE, row.operator), default=None)

    @property
    def compared(self) -> int:
        """Operators that at least one runtime computed, too."""
        done = {row.operator for row in self.rows if row.outcome != "not compared"}
        return len(done - {WHOLE})

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest: what is equal is counted, all else is listed."""
        listed = [asdict(row) for row in self.rows if row.outcome != "equal"]
        return {
            "verdict": self.verdict,
            "invocations": self.invocations,
            "operators_compared": self.compared,
            "equal": len(self.rows) - len(listed),
            "rows": listed,
            "weak": list(self.weak),
            "first": asdict(self.first) if self.first else None,
        }


def compare(model: bytes, inputs: Inputs, report: Reporter = silent) -> Parity:
    """Compare TensorFlow Lite Micro with LiteRT's reference kernels and XNNPACK.

    Every operator is cut out and run by LiteRT on the very values that TensorFlow Lite Micro
    computed before it, so that a difference stays where it arises. Then the whole model is
    compared. Invocations follow each other; variables keep their values in between.

    Args:
        model: the flatbuffer.
        inputs: for each invocation its arrays, in the graph's order, as the model stores them.
        report: hears of each operator.

    Raises:
        MissingExtraError: if TensorFlow Lite Micro is not installed.
        ModelError: if TensorFlow Lite Micro refuses the model.
    """
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(model)
    inputs = _affordable(graph, inputs)
    with Session() as session:
        case = session.load(model, inputs)
        outputs = session.run(case)
        values = _all_values(session, model, graph, inputs)
        rows = [*_operators(session, model, graph, values, report)]
        report(Progress("parity", len(graph.operators), len(graph.operators), "whole model"))
        rows += [_whole(session, case, graph, rows, outputs, runtime) for runtime in REFERENCES]
    return Parity(_verdict(rows), tuple(rows), _weak(graph, values), len(inputs))


def _affordable(graph: Graph, inputs: Inputs) -> Inputs:
    from edgepack.micro.memory_plan import size_of

    one = sum(size_of(t) for t in graph.tensors if not t.is_constant)
    return inputs[: max(1, MAX_KEPT_BYTES // max(1, one))]


def _all_values(session: Session, model: bytes, graph: Graph, inputs: Inputs) -> Values:
    """What TensorFlow Lite Micro computes inside, by tensor."""
    from edgepack.tflite.subgraph import READABLE

    ends = {i for o in graph.operators for i in (*o.inputs, *o.outputs) if i >= 0}
    tensors = sorted(
        i for i in ends if not graph.tensors[i].is_constant and graph.tensors[i].dtype in READABLE
    )
    rows = session.run(session.load(model, inputs), tensors=tensors)
    return {tensor: [row[place] for row in rows] for place, tensor in enumerate(tensors)}


def _operators(
    session: Session, model: bytes, graph: Graph, values: Values, report: Reporter
) -> Iterator[Row]:
    from edgepack.micro.cutting import UNCUT, Cutter

    cutter = Cutter(model)
    for operator in graph.operators:
        report(Progress("parity", operator.index, len(graph.operators), operator.code))
        if operator.code in UNCUT or not set(operator.outputs) <= values.keys():
            reason = "it cannot be run alone; see the whole model"
            names = (operator.index, operator.code, operator.layer)
            yield from (_left_out(*names, runtime, reason) for runtime in REFERENCES)
            continue
        cut = cutter.cut(operator.index)
        yield from _operator(session, graph, operator, cut, values)


def _operator(
    session: Session, graph: Graph, operator: Operator, cut: Any, values: Values
) -> Iterator[Row]:
    count = len(values[operator.outputs[0]])
    case = session.load(cut.model, [[values[i][row] for i in cut.inputs] for row in range(count)])
    expected = [[values[i][row] for i in cut.outputs] for row in range(count)]
    names = (operator.index, operator.code, operator.layer)
    for runtime in REFERENCES:
        if faulty := _known("faulty", graph, operator, runtime):
            yield _left_out(*names, runtime, faulty)
            continue
        try:
            found = session.run(case, runtime)
        except ModelError as error:
            yield _left_out(*names, runtime, error.message)
            continue
        explanation = _known("rounding", graph, operator, runtime)
        yield _judged(*names, runtime, expected, found, explanation)


def _left_out(index: int, code: str, layer: str, runtime: Runtime, reason: str) -> Row:
    return Row(index, code, layer, runtime, "not compared", reason=reason)


def _judged(
    index: int,
    code: str,
    layer: str,
    runtime: Runtime,
    expected: Inputs,
    found: Inputs,
    explanation: str,
) -> Row:
    pairs = [p for a, b in zip(expected, found, strict=True) for p in zip(a, b, strict=True)]
    largest, differing, total, is_close = _difference(pairs)
    is_float = any(a.dtype.kind == "f" for a, _ in pairs)
    outcome: Outcome = "different"
    reason = ""
    if not differing:
        outcome = "equal"
    elif is_float and is_close:
        outcome, reason = "explained", "32-bit floating point numbers, rounded in another order"
    elif not is_float and largest <= 1 and explanation:
        outcome, reason = "explained", explanation
    return Row(index, code, layer, runtime, outcome, largest, differing, total, reason)


def _difference(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
) -> tuple[float, int, int, bool]:
    """The largest difference, how many values differ, of how many; whether floats are close."""
    import numpy as np

    largest, differing, total, is_close = 0.0, 0, 0, True
    for mine, other in pairs:
        a, b = mine.ravel().astype(np.float64), other.ravel().astype(np.float64)
        if a.shape != b.shape:
            return float("inf"), max(len(a), len(b)), max(len(a), len(b)), False
        unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
        gaps = np.abs(a - b)[unequal]
        total, differing = total + len(a), differing + int(unequal.sum())
        gap = float(gaps.max()) if len(gaps) else 0.0
        largest = max(largest, gap)
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
        is_close &= gap <= FLOAT_TOLERANCE * scale
    return largest, differing, total, is_close


def _whole(
    session: Session,
    case: Case,
    graph: Graph,
    rows: Sequence[Row],
    expected: Inputs,
    runtime: Runtime,
) -> Row:
    """The outputs of the whole model, to which the differences of operators have spread."""
    for operator in graph.operators:
        if faulty := _known("faulty", graph, operator, runtime):
            return _left_out(WHOLE, "", "", runtime, faulty)
    try:
        found = session.run(case, runtime)
    except ModelError as error:
        return _left_out(WHOLE, "", "", runtime, error.message)
    row = _judged(WHOLE, "", "", runtime, expected, found, "")
    causes = [r for r in rows if r.runtime == runtime and r.outcome == "explained"]
    if row.outcome != "different" or not causes:
        return row
    first = causes[0]
    reason = f"spread from {first.code} {first.operator}, the first that is rounded in another way"
    return replace(row, outcome="explained", reason=reason)


def _weak(graph: Graph, values: Values) -> tuple[int, ...]:
    import numpy as np

    weak = []
    for operator in graph.operators:
        found = [x.ravel() for i in operator.outputs for x in values.get(i, ())]
        if found and len(np.unique(np.concatenate(found))) < WEAK:
            weak.append(operator.index)
    return tuple(weak)


def _verdict(rows: Sequence[Row]) -> Verdict:
    outcomes = {row.outcome for row in rows}
    if "different" in outcomes:
        return "different"
    return "explained" if "explained" in outcomes else "exact"


@cache
def rounding() -> Mapping[str, Any]:
    """The table of operators that runtimes are known to round in different ways, or wrong."""
    path = Path(__file__).with_name("rounding.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _known(kind: str, graph: Graph, operator: Operator, runtime: Runtime) -> str:
    """The reason that the table gives for an operator of a runtime; empty where it has none."""
    dtypes = [graph.tensors[i].dtype for i in operator.inputs if i >= 0]
    for row in rounding()[kind]:
        is_meant = operator.code in row["operators"] and runtime in row["runtimes"]
        if is_meant and dtypes and dtypes[0] in row["dtypes"]:
            return str(row["reason"])
    return ""
