"""Turns a float .tflite into a trainable tf_keras model, and proves that it is the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepack.errors import ModelError
from edgepack.network.bridge_check import check_storable
from edgepack.step import unrecorded, unremarked
from edgepack.table import printable
from edgepack.tflite.flatbuffer import read_graph
from edgepack.thawing.obstacles import states
from edgepack.thawing.proof import prove
from edgepack.thawing.rebuilding import rebuild, refusal

SHOWN = 6
"""Names in a remark."""


def thaw(
    data: bytes,
    seed: int = 0,
    remark: Callable[[str], None] = unremarked,
    record: Callable[[str, Any], None] = unrecorded,
) -> Any:
    """A flat functional tf_keras model of a .tflite: constants are weights, its batch is open.

    Args:
        data: a float .tflite; weights may be stored as float16 or sparse.
        seed: of the samples that prove it.
        remark: hears what stays fixed, and how exact the model is.
        record: takes the largest ``difference``, as a part of the largest output (at least 1).

    Raises:
        StepError: naming the operators that cannot be rebuilt, or the first that differs.
        ModelError: if the file is broken, or LiteRT cannot run it.
    """
    graph = read_graph(data)
    rebuilt = rebuild(graph)
    gap = prove(data, graph, rebuilt, seed)
    try:
        check_storable(rebuilt.model, {})
    except ModelError as error:
        raise refusal([error.message]) from error
    record("difference", gap)
    remark(f"rebuilt from the .tflite; outputs differ by {gap:.2g} of the largest at most")
    if states(graph):
        remark("starts anew with each sample, where the .tflite goes on from the one before")
    for sentence, names in (
        ("stays as it is, whatever is trained", rebuilt.fixed),
        ("has a copy of weights that it shared with others", rebuilt.parted),
    ):
        if names:
            remark(f"{sentence}: {_listed(names)}")
    return rebuilt.model


def _listed(names: list[str]) -> str:
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - SHOWN} more" if len(each) > SHOWN else ""
    return printable(", ".join(each[:SHOWN])) + more
