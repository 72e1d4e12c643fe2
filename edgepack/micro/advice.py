"""What would help a model that does not fit: only what makes it smaller on a microcontroller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.target import Target
    from edgepack.tflite.flatbuffer import Graph

TOLD = 3
"""Other targets that are named."""
NO_HELP = "pruning and clustering do not help: every weight is stored in full, zero or not"


def flash_advice(needed: int, model_bytes: int, graph: Graph, target: Target) -> Iterator[str]:
    """Ways to less flash, the surest first.

    Args:
        needed: bytes of flash, with the model.
        model_bytes: of the flatbuffer.
        graph: of the model.
        target: whose flash is too small.
    """
    floats = sum(
        tensor.size_bytes
        for part in (graph, *graph.bodies)
        for tensor in part.tensors
        if tensor.is_constant and tensor.dtype == "float32"
    )
    if floats > model_bytes // 2:
        less = 3 * floats // 4
        yield f"build its Keras model with --recipe mcu-int8: weights take {less:,} bytes less"
    room = target.flash_kib * 1024 - (needed - model_bytes)
    if room > 0:
        share = 100 * room // model_bytes
        yield f"train a model of fewer channels or layers: {share} % of its bytes would fit"
    else:
        yield "the runtime alone is too large: use fewer kinds of operators"
    yield NO_HELP
    yield from _others("flash_kib", needed)


def ram_advice(needed: int, arena_bytes: int, graph: Graph, target: Target) -> Iterator[str]:
    """Ways to less RAM, the surest first.

    Args:
        needed: bytes of RAM, with the arena.
        arena_bytes: of the arena.
        graph: of the model.
        target: whose RAM is too small.
    """
    computed = [t for part in (graph, *graph.bodies) for t in part.tensors if not t.is_constant]
    if sum(t.dtype == "float32" for t in computed) * 2 > len(computed):
        yield "build its Keras model with --recipe mcu-int8: activations in 8 bits take a quarter"
    elif sum(t.dtype == "int16" for t in computed) * 2 > len(computed):
        yield "build its Keras model with --recipe mcu-int8: activations in 8 bits take half"
    room = target.ram_kib * 1024 - (needed - arena_bytes)
    share = max(0, 100 * room // max(1, arena_bytes))
    yield f"train with a smaller input or an earlier stride: {share} % of its arena would fit"
    yield from _others("ram_kib", needed)


def _others(key: str, needed: int) -> Iterator[str]:
    """The targets with just enough of one memory."""
    from edgepack.target import read_target, target_names

    boards = [target for target in map(read_target, target_names()) if target.kernels]
    enough = [(getattr(t, key), t.id) for t in boards if getattr(t, key) * 1024 >= needed]
    if names := [name for _, name in sorted(enough)[:TOLD]]:
        yield f"or take a target with more, such as {', '.join(names)}"
