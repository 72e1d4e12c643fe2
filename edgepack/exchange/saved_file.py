"""Reads and judges the folder of a SavedModel, without loading or running it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack import keras, plugins
from edgepack.errors import ModelError
from edgepack.exchange.shapes import Shape

FILE = "saved_model.pb"
VARIABLES = "variables/variables.index"
USUAL = "serving_default"
INITIAL = ("__saved_model_init_op", "saved_model_main_op", "legacy_init_op", "table_initializer")
"""Where a SavedModel keeps what runs as it is loaded."""
RUN_AT_LOADING = ("_create_resource", "_initialize", "_destroy_resource")
"""Functions of its objects that run then, too."""
STATEFUL = frozenset(
    {
        *("Assert", "AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "If", "Case"),
        *("Multinomial", "NoOp", "RandomStandardNormal", "SymbolicGradient"),
        *("RandomUniform", "RandomUniformInt", "ReadVariableOp", "StatefulPartitionedCall"),
        *("StatelessCase", "TruncatedNormal", "VarHandleOp", "VarIsInitializedOp", "Variable"),
        *("VariableShape", "VariableV2", "While", "DestroyResourceOp", "ResourceGather"),
        *("ResourceGatherNd", "Assign", "IsVariableInitialized", "PartitionedCall"),
    }
)
"""Operators with a state that is the model's own: variables, random numbers, calls and loops."""
OUTWARD = re.compile(
    r"PyFunc|Dataset|Iterator|Debug|HostCompute|Send$|Recv$|^ImmutableConst$|^Abort$"
    r"|^_|^Xla|^DTensor|^Copy(Host)?$"
)
"""Operators that TensorFlow counts as pure and that reach out of the model all the same: a constant
that is mapped from a file, copies that a debugger hears of, calls of a compiler's own."""
DTYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64"}
DTYPES |= {10: "bool", 19: "float16"}
"""What there can be samples of, by its number in TensorFlow."""
STRING = 7
MOST_BYTES = (1 << 31) - 1
HINT = "save the model again with tf.saved_model.save or model.export"


@dataclass(frozen=True)
class Saved:
    """One signature of a SavedModel.

    Attributes:
        signature: its name.
        tags: of the graph that it is in.
        inputs: shapes by name, sorted by name.
        dtypes: of the inputs by name.
        outputs: names, sorted.
    """

    signature: str
    tags: tuple[str, ...]
    inputs: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    outputs: tuple[str, ...]


def read(folder: Path, signature: str = "") -> Saved:
    """One signature of a SavedModel, judged.

    Args:
        folder: where ``saved_model.pb`` lies.
        signature: its name; empty for ``serving_default`` or the only one.

    Raises:
        MissingExtraError: if TensorFlow is not installed.
        ModelError: if the file is broken, has no such signature, or holds operators that act on
            more than the model.
    """
    graph = _graph(folder)
    chosen = _chosen(folder, graph, signature)
    definition = graph.signature_def[chosen]
    found = Saved(
        chosen,
        tuple(graph.meta_info_def.tags),
        {name: _shape(name, definition.inputs[name]) for name in sorted(definition.inputs)},
        {name: DTYPES.get(info.dtype, "") for name, info in definition.inputs.items()},
        tuple(sorted(definition.outputs)),
    )
    _check_ends(folder, found, definition)
    used = Counter(_operators(graph, chosen))
    _check_operators(folder, used)
    if used.keys() & {"VarHandleOp", "VariableV2"}:
        _check_weights(folder)
    return found


def _check_weights(folder: Path) -> None:
    """They must be readable, and in the folder itself, or nobody would hear when they change."""
    index = folder / VARIABLES
    if index.parent.is_symlink():
        raise ModelError(f"{index.parent} is a link", "copy the folder of the model whole: cp -rL")
    try:
        index.open("rb").close()
    except FileNotFoundError as error:
        message = f"{folder} has no {VARIABLES}, which holds its weights"
        raise ModelError(message, HINT) from error
    except OSError as error:
        raise ModelError(f"{index} cannot be read: {error.strerror}", "check the folder") from error


def _graph(folder: Path) -> Any:
    """The graph for inference: the one tagged ``serve``, or the only one."""
    file = folder / FILE
    if file.stat().st_size > MOST_BYTES:
        raise ModelError(f"{file} has over 2 GB", "edgepack takes smaller ones")
    saved = keras.part("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    decode = keras.part("google.protobuf.message").DecodeError
    try:
        saved.ParseFromString(file.read_bytes())
    except decode as error:
        raise ModelError(f"{file} is not a SavedModel, or it is cut off", HINT) from error
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}", "check the folder") from error
    graphs = list(saved.meta_graphs)
    served = [graph for graph in graphs if "serve" in graph.meta_info_def.tags] or graphs[:1]
    if not served:
        raise ModelError(f"{file} is not a SavedModel: it holds no graph", HINT)
    return served[0]


def _chosen(folder: Path, graph: Any, signature: str) -> str:
    names = sorted(name for name in graph.signature_def if name not in INITIAL)
    listed = ", ".join(names)
    if not names:
        raise ModelError(f"{folder} has no signature", "save it with signatures=...")
    if signature and signature not in names:
        raise ModelError(
            f"{folder} has no signature {signature!r}; it has {listed}",
            plugins.suggest(signature, names),
        )
    if signature or USUAL in names or len(names) == 1:
        return signature or (USUAL if USUAL in names else names[0])
    raise ModelError(
        f"{folder} has several signatures: {listed}", f"choose one: --signature {names[0]}"
    )


def _shape(name: str, info: Any) -> Shape:
    if info.tensor_shape.unknown_rank or not info.name:
        raise ModelError(f"the input {name!r} has no shape", "save the model with a fixed rank")
    return [int(d.size) if d.size >= 0 else d.name or "?" for d in info.tensor_shape.dim]


def _check_ends(folder: Path, saved: Saved, definition: Any) -> None:
    for word, infos in (("input", definition.inputs), ("output", definition.outputs)):
        if not infos:
            hint = "--signature NAME chooses another one"
            raise ModelError(f"the signature {saved.signature!r} of {folder} has no {word}", hint)
        for name, info in infos.items():
            if info.dtype not in DTYPES or info.WhichOneof("encoding") != "name":
                raise ModelError(
                    f"the {word} {name!r} of {folder} is no tensor of numbers",
                    "save a signature with numbers as inputs and outputs",
                )


def _operators(graph: Any, signature: str) -> Iterator[str]:
    """The operators that run for a signature and as the model is loaded."""
    nodes = {node.name: node for node in graph.graph_def.node}
    library = {f.signature.name: f for f in graph.graph_def.library.function}
    ends = [info.name for info in graph.signature_def[signature].outputs.values()]
    found = list(_reached(nodes, [*ends, *_initial_nodes(graph)]))
    waiting = [*_called(found), *_initial_functions(graph)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in library and name not in seen:
            seen.add(name)
            found += library[name].node_def
            waiting += _called(library[name].node_def)
    for node in found:
        yield node.op


def _reached(nodes: Mapping[str, Any], ends: Iterable[str]) -> Iterator[Any]:
    waiting, seen = [_node_name(end) for end in ends], set[str]()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            waiting += [_node_name(source) for source in nodes[name].input]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """The functions that nodes call."""
    for value in (value for node in nodes for value in node.attr.values()):
        yield from (f.name for f in (value.func, *value.list.func) if f.name)


def _initial_nodes(graph: Any) -> Iterator[str]:
    for name in INITIAL:
        if name in graph.signature_def:
            yield from (info.name for info in graph.signature_def[name].outputs.values())
        if name in graph.collection_def:
            yield from graph.collection_def[name].node_list.value


def _initial_functions(graph: Any) -> Iterator[str]:
    """Functions of objects that run as they are created, restored or destroyed."""
    objects = graph.object_graph_def.nodes
    for node in objects:
        ids = [c.node_id for c in node.children if c.local_name in RUN_AT_LOADING]
        ids += [saveable.restore_function for saveable in node.saveable_objects.values()]
        for part in (objects[i] for i in ids if 0 <= i < len(objects)):
            yield from part.function.concrete_functions
            yield part.bare_concrete_function.concrete_function_name


def _check_operators(folder: Path, used: Mapping[str, int]) -> None:
    known = keras.part("tensorflow.python.framework.op_def_registry").get
    refused = sorted(name for name in used if not _is_own(name, known(name)))
    if refused:
        raise ModelError(
            f"{folder} has operators that act on more than numbers of the model, or that"
            f" TensorFlow does not know: {', '.join(refused)}",
            "save a signature without them: files, texts, tables, prints and Python stay outside",
        )


def _is_own(name: str, definition: Any) -> bool:
    """Whether an operator computes with numbers and variables of the model, and nothing else."""
    if definition is None or OUTWARD.search(name):
        return False
    texts = any(a.type == STRING for a in (*definition.input_arg, *definition.output_arg))
    return not texts and (not definition.is_stateful or name in STATEFUL)
