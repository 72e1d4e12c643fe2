"""Compares a .tflite with the ONNX graph that it was made of, output by output."""

from __future__ import annotations

import copy
import importlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepack.errors import ModelError, StepError
from edgepack.exchange import program
from edgepack.exchange.onnx_file import DTYPES, inputs_of
from edgepack.network.bridge_check import LIMIT, difference
from edgepack.tflite import interpreter, signature
from edgepack.tflite.flatbuffer import read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.exchange.onnx_graph import Names

    Arrays = dict[str, NDArray[Any]]

SEEDS = (0, 1)
MOST_TRACED = 1 << 26
"""Values of all tensors of a graph together that are looked at one by one."""


@dataclass(frozen=True)
class Trial:
    """Random inputs, and what ONNX Runtime makes of them."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Agreement:
    """A .tflite that computes what the ONNX graph does.

    Attributes:
        model: its inputs and outputs are in the order of the graph.
        difference: the largest of an output, over its largest value (at least 1).
        turned: the outputs whose channels are last in it.
    """

    model: bytes
    difference: float
    turned: frozenset[str]


def trials(model: Any) -> list[Trial]:
    """Run a graph with fixed shapes on random inputs.

    Raises:
        ModelError: if ONNX Runtime refuses it.
    """
    made = []
    for seed in SEEDS:
        inputs = _graph_samples(model, seed)
        made.append(Trial(inputs, _run(model, inputs)))
    return made


def samples(shapes: Mapping[str, Sequence[int]], dtypes: Mapping[str, str], seed: int) -> Arrays:
    """Random inputs by name: normal numbers, or 0 and 1 where there are whole numbers only."""
    import numpy as np

    random = np.random.default_rng(seed)
    made: Arrays = {}
    for name, shape in shapes.items():
        whole = not dtypes[name].startswith("float")
        values = random.integers(0, 2, shape) if whole else 2 * random.standard_normal(shape)
        made[name] = np.asarray(values).astype(dtypes[name])
    return made


def compare(
    converted: bytes, model: Any, wanted: Sequence[Trial], images: frozenset[str], names: Names
) -> Agreement:
    """Find each output of a graph among those of a .tflite, and how far they differ.

    Args:
        converted: the .tflite, whose inputs have the graph's names in theirs.
        model: the graph.
        wanted: what `trials` gave.
        images: inputs whose channels were moved to the end.
        names: what the graph's parts are called in messages.

    Raises:
        StepError: if an output is missing, or differs by more than what rounding explains.
    """
    order = _input_order(converted, list(names.inputs))
    given = [{n: _last(x) if n in images else x for n, x in t.inputs.items()} for t in wanted]
    got = [outputs(converted, order, inputs) for inputs in given]
    matches = _matched([t.outputs for t in wanted], got)
    worst = max(matches, key=lambda name: matches[name].difference)
    if matches[worst].difference > _limit(model):
        place = _first_difference(converted, model, wanted[0], order, given[0], names)
        raise StepError(
            f"the converted model differs from the ONNX file: output {names.outputs[worst]!r} by"
            f" {matches[worst].difference:.2g} of its largest value{place}",
            "export the model with other operators, or to a SavedModel or .tflite",
        )
    arranged = signature.arrange(converted, order, [matches[name].index for name in names.outputs])
    turned = frozenset(name for name, match in matches.items() if match.turned)
    return Agreement(arranged, matches[worst].difference, turned)


def _limit(model: Any) -> float:
    """What rounding explains: more where the graph computes in 16 bits, as LiteRT then does not."""
    ends = (value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output))
    kinds = {DTYPES.get(n) for n in (*ends, *(t.data_type for t in model.graph.initializer))}
    return LIMIT["float16" if "float16" in kinds else "float32"]


@dataclass(frozen=True)
class _Match:
    index: int
    turned: bool
    difference: float


def _matched(wanted: Sequence[Arrays], got: Sequence[Sequence[Any]]) -> dict[str, _Match]:
    """Each output's place among those of the .tflite: where it differs least, and each once."""
    found: dict[str, _Match] = {}
    names, places = list(wanted[0]), range(len(got[0]))
    all_pairs = [m for name in names for m in _candidates(name, wanted, got, places)]
    for name, match in sorted(all_pairs, key=lambda pair: pair[1].difference):
        taken = {m.index for m in found.values()}
        if name not in found and match.index not in taken:
            found[name] = match
    if len(found) < len(names):
        raise StepError(
            f"the converted model has {len(places)} of {len(names)} outputs",
            "leave out those that are an input or a constant",
        )
    return found


def _candidates(
    name: str, wanted: Sequence[Arrays], got: Sequence[Sequence[Any]], places: Sequence[int]
) -> Iterator[tuple[str, _Match]]:
    for place, turned in itertools.product(places, (False, True)):
        gap = max(
            difference(_last(w[name]) if turned else w[name], row[place])
            for w, row in zip(wanted, got, strict=True)
        )
        yield name, _Match(place, turned and _has_channels(wanted[0][name]), gap)


def _has_channels(x: NDArray[Any]) -> bool:
    return x.ndim > 2


def _last(x: NDArray[Any]) -> NDArray[Any]:
    """Channels moved from dimension 1 to the end."""
    import numpy as np

    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if _has_channels(x) else x


def _graph_samples(model: Any, seed: int) -> Arrays:
    kinds = {v.name: DTYPES[v.type.tensor_type.elem_type] for v in model.graph.input}
    sizes = {name: [int(n) for n in shape] for name, shape in inputs_of(model).items()}
    return samples(sizes, kinds, seed)


def _run(model: Any, inputs: Arrays) -> Arrays:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, inputs)
    except Exception as error:
        # Its exceptions have no base of their own.
        raise ModelError(
            f"ONNX Runtime {runtime.__version__} cannot run the model: {program.reason_of(error)}",
            "export the model again, with a lower opset if it is new",
        ) from error
    return {o.name: x for o, x in zip(session.get_outputs(), outputs, strict=True)}


def _input_order(converted: bytes, names: Sequence[str]) -> list[int]:
    """The places of the graph's inputs among those of the .tflite, whose names hold theirs."""
    graph = read_graph(converted)
    own = [graph.tensors[index].name for index in graph.inputs]
    words = [name.removeprefix("serving_default_").partition(":")[0] for name in own]
    if sorted(words) != sorted(names):
        raise StepError(
            f"the converted model has the inputs {', '.join(own)}",
            "leave inputs out of the exported model that nothing reads",
        )
    return [words.index(name) for name in names]


def outputs(converted: bytes, order: Sequence[int], inputs: Arrays) -> list[Any]:
    """The outputs of a .tflite in its order, the places of whose inputs are given."""
    runtime = _invoked(converted, order, inputs)
    return [runtime.get_tensor(detail["index"]) for detail in runtime.get_output_details()]


def _invoked(
    converted: bytes, order: Sequence[int], inputs: Arrays, *, keep_tensors: bool = False
) -> Any:
    runtime = interpreter.open_interpreter(converted, keep_tensors=keep_tensors)
    details = runtime.get_input_details()
    for place, x in zip(order, inputs.values(), strict=True):
        runtime.set_tensor(details[place]["index"], x.astype(details[place]["dtype"]))
    runtime.invoke()
    return runtime


def _first_difference(
    converted: bytes,
    model: Any,
    trial: Trial,
    order: Sequence[int],
    given: Arrays,
    names: Names,
) -> str:
    """Where the two part: the first node after the last one whose values the .tflite has, too.

    Fused operators leave no trace in a .tflite, so a node that is not found proves nothing; one
    that is found proves all before it on its way.
    """
    traced = _traced(model, trial.inputs)
    runtime = _invoked(converted, order, given, keep_tensors=True)
    held: dict[int, list[Any]] = {}
    for detail in runtime.get_tensor_details():
        if detail["name"] and detail["index"] >= 0:
            values = _tensor(runtime, detail["index"])
            if values is not None:
                held.setdefault(values.size, []).append(values)
    nodes = [node for node in model.graph.node if set(node.output) & traced.keys()]
    limit = _limit(model)
    known = [i for i, node in enumerate(nodes) if _is_held(traced, node, held, limit)]
    following = nodes[max(known, default=-1) + 1 :]
    return f"; they part at node {names.nodes[following[0].name]}" if following else ""


def _traced(model: Any, inputs: Arrays) -> Arrays:
    """The values of all nodes of the main graph."""
    whole = copy.deepcopy(model)
    shown = {value.name for value in whole.graph.output}
    values = {value.name: value for value in whole.graph.value_info}
    made = [name for node in whole.graph.node for name in node.output if name in values]
    whole.graph.output.extend(values[name] for name in made if name not in shown)
    sizes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in values.values()]
    if sum(map(math.prod, sizes)) > MOST_TRACED:
        return {}
    return _run(whole, inputs)


def _tensor(runtime: Any, index: int) -> Any:
    try:
        return runtime.get_tensor(index)
    except ValueError:
        return None  # One of a body, or one that was never filled.


def _is_held(traced: Arrays, node: Any, held: Mapping[int, list[Any]], limit: float) -> bool:
    found = [traced[name] for name in node.output if name in traced]
    return all(
        any(_gap(values, other) <= limit for other in held.get(values.size, [])) for values in found
    )


def _gap(values: NDArray[Any], other: NDArray[Any]) -> float:
    """How far two tensors differ in one layout or the other, small values counted as large ones."""
    size = float(abs(values).max(initial=0.0)) or 1.0
    ways = [way.reshape(-1) / size for way in (values, _last(values))]
    return min(difference(way, other.reshape(-1) / size) for way in ways)
