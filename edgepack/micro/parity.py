"""Compares TensorFlow Lite Micro with LiteRT on one model, operator by operator on equal inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgepack.errors import ModelError
from edgepack.micro.comparison import ALONE, WHOLE, Outcome, Parity, Row, Verdict
from edgepack.micro.host import Case, Runtime, Session
from edgepack.micro.rounding import difference, known
from edgepack.progress import Progress, Reporter, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.tflite.flatbuffer import Graph, Operator

Inputs = Sequence[Sequence["NDArray[Any]"]]
Values = Mapping[int, list["NDArray[Any]"]]
"""By tensor, its values in each invocation."""

REFERENCES: tuple[Runtime, ...] = ("litert-reference", "litert-xnnpack")
WEAK = 3
"""Distinct values below which equal outputs prove little."""
MAX_KEPT_BYTES = 1 << 28
"""Of tensors that are kept for comparison; of a large model fewer invocations are compared."""


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
        rows = [*_kept(graph, outputs, values)]
        rows += _operators(session, model, graph, values, report)
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


def _kept(graph: Graph, outputs: Inputs, values: Values) -> Iterator[Row]:
    """A row where tensors that share memory spoil each other: it must not happen."""
    kept = [[values[i][row] for i in graph.outputs if i in values] for row in range(len(outputs))]
    alone = [[x for i, x in zip(graph.outputs, row, strict=True) if i in values] for row in outputs]
    row = _judged(WHOLE, "", "", "tflm", kept, alone, "")
    if row.outcome != "equal":
        yield replace(row, outcome="different", reason="its tensors overwrite each other")


def _operators(
    session: Session, model: bytes, graph: Graph, values: Values, report: Reporter
) -> Iterator[Row]:
    from edgepack.micro.cutting import UNCUT, Cutter

    cutter = Cutter(model)
    for operator in graph.operators:
        report(Progress("parity", operator.index, len(graph.operators), operator.code))
        if operator.code in UNCUT or not set(operator.outputs) <= values.keys():
            names = (operator.index, operator.code, operator.layer)
            yield from (_left_out(*names, runtime, ALONE) for runtime in REFERENCES)
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
        if faulty := known("faulty", graph, operator, runtime):
            yield _left_out(*names, runtime, faulty)
            continue
        try:
            found = session.run(case, runtime)
        except ModelError as error:
            yield _left_out(*names, runtime, error.message)
            continue
        explanation = known("rounding", graph, operator, runtime)
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
    largest, differing, total, is_close = difference(pairs)
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
        if faulty := known("faulty", graph, operator, runtime):
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
    order: tuple[tuple[Outcome, Verdict], ...] = (
        ("different", "different"),
        ("explained", "explained"),
        ("equal", "exact"),
    )
    return next((verdict for outcome, verdict in order if outcome in outcomes), "not compared")
