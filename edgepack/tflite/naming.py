"""Gives the tensors of a .tflite names that tell them apart, and takes them out again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.tflite import flatbytes, signature
from edgepack.tflite.subgraph import graph_of

MADE_UP = re.compile(rb"\w*/(\d+)\.(\d+)")
"""What `label` calls a tensor; a library may write words of its own behind it."""


def label(data: bytes, words: Mapping[int, str]) -> bytes:
    """A .tflite whose tensors have a name each, and whose only signature is that of its main graph.

    Args:
        data: the flatbuffer; its names may be missing or repeat.
        words: what the names of an operator's outputs begin with, by its index in the main graph.
    """
    model = flatbytes.unpack(flatbytes.load(data))
    inputs, outputs = signature.ends(graph_of(model)).values()
    model.signatureDefs = [signature.made(model, list(inputs), list(outputs))]
    main = model.subgraphs[0]
    begin = {int(i): words[index] for index in words for i in main.operators[index].outputs}
    for where, graph in enumerate(model.subgraphs):
        for i, tensor in enumerate(graph.tensors):
            tensor.name = f"{begin.get(i, '') if where == 0 else ''}/{where}.{i}"
    return flatbytes.pack(model)


def unlabel(data: bytes, original: bytes) -> bytes:
    """What became of a labelled .tflite, with the names and signatures that the original has.

    Args:
        data: the flatbuffer; the inputs and outputs of its main graph may be other tensors now.
        original: what `label` was given.
    """
    model, old = (flatbytes.unpack(flatbytes.load(source)) for source in (data, original))
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        tensor.name = _own_name(tensor.name or b"", old)
    main, before = model.subgraphs[0], old.subgraphs[0]
    moved = dict(zip(map(int, before.inputs), map(int, main.inputs), strict=True))
    arrived = dict(zip(map(int, before.outputs), map(int, main.outputs), strict=True))
    for entry in old.signatureDefs or ():
        if entry.subgraphIndex == 0:
            _point(entry.inputs or (), moved)
            _point(entry.outputs or (), arrived)
    model.signatureDefs = old.signatureDefs
    return flatbytes.pack(model)


def _own_name(name: bytes, old: Any) -> bytes:
    """The original name of a tensor, with what a library wrote behind it."""
    found = MADE_UP.match(name)
    if not found:
        return name
    own: bytes = old.subgraphs[int(found[1])].tensors[int(found[2])].name or b""
    return own + name[found.end() :] if own else b""


def _point(entries: Any, places: Mapping[int, int]) -> None:
    for entry in entries:
        entry.tensorIndex = places.get(entry.tensorIndex, entry.tensorIndex)
