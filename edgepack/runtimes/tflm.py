"""TensorFlow Lite Micro: an interpreter for microcontrollers, in C++ without an allocator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from edgepack.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.firmware import Subject
    from edgepack.micro.arena import Arena
    from edgepack.micro.comparison import Parity
    from edgepack.progress import Reporter
    from edgepack.target import Target
    from edgepack.tflite.flatbuffer import Graph

PACKAGE = "tflite-micro"
TOLD = 5
"""Operators that an error names."""
INEXACT = frozenset({"esp-nn"})
"""Kernels that may be off by 1 from the reference kernels; CMSIS-NN states that it equals them."""


def outside() -> str:
    """The Python package of TensorFlow Lite Micro, which runs its reference kernels here."""
    from importlib import metadata

    try:
        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(PACKAGE, "mcu") from error


def check(model: bytes) -> None:
    """Refuse a model with operators, types or shapes that TensorFlow Lite Micro does not have."""
    from edgepack.micro import operator_check
    from edgepack.tflite.flatbuffer import read_graph

    refusals = operator_check.check(read_graph(model))
    if not refusals:
        return
    told = "; ".join(refusal.text for refusal in refusals[:TOLD])
    more = f"; and {len(refusals) - TOLD} more" if len(refusals) > TOLD else ""
    hints = dict.fromkeys(refusal.hint for refusal in refusals[:TOLD] if refusal.hint)
    raise ModelError(f"TensorFlow Lite Micro cannot run {told}{more}", "; ".join(hints))


def run(
    model: bytes,
    samples: Mapping[str, NDArray[Any]],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """What TensorFlow Lite Micro's reference kernels make of samples, in a process of its own."""
    from edgepack.micro import host, vectors
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(model)
    return vectors.read(graph, host.run(model, vectors.store(graph, samples, inputs)), outputs)


def need(model: bytes, named: bytes, target: Target, report: Reporter) -> dict[str, Any]:
    """The arena, who fills it, and whether all of it fits."""
    from edgepack.micro import arena, fit, operators
    from edgepack.tflite.flatbuffer import read_graph

    graph, layers = read_graph(model), read_graph(named)
    needed = arena.measure(model, target, report)
    shown = graph if target.accelerator else layers
    room = fit.judge(len(model), shown, needed.constant_bytes, target)
    return {
        "runtime": outside(),
        "target": target.id,
        "operators": list(operators.calls(graph)),
        "count": sum(len(part.operators) for part in (graph, *graph.bodies)),
        "arena": needed.facts(),
        "peak": None if target.accelerator else _peak(layers, needed, target),
        "fit": room.facts(),
        "problems": list(room.problems()),
    }


def examine(subject: Subject, report: Reporter) -> dict[str, Any]:
    """What is needed, and parity with LiteRT."""
    from edgepack.micro import parity, vectors
    from edgepack.tflite.flatbuffer import read_graph

    needed = need(subject.deployed, subject.named, subject.used, report)
    given = vectors.store(read_graph(subject.named), subject.samples, subject.inputs)
    compared = parity.compare(subject.named, given, report)
    problems = [*_differences(compared), *needed["problems"]]
    return {**needed, "parity": compared.facts(), "problems": problems}


def _peak(named: Graph, needed: Arena, target: Target) -> dict[str, Any]:
    """What fills the arena; of a model for an accelerator nobody but its compiler knows."""
    from edgepack.micro import peak

    kernels = target.kernels or "reference"
    return peak.split(named, needed.persistent, kernels=kernels, features=target.features).facts()


def _differences(compared: Parity) -> Iterator[dict[str, str]]:
    if compared.first:
        yield {
            "message": f"parity: {compared.first.sentence}",
            "hint": "do not ship it before this is understood: look at firmware.parity in the"
            " manifest",
        }


def pack(subject: Subject, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """The folder for a firmware project: array, C++ around it, golden vectors, build files."""
    from edgepack.micro import host, package, vectors
    from edgepack.tflite.flatbuffer import read_graph

    graph = read_graph(subject.tried)
    inputs, outputs = package.ports(read_graph(subject.named))
    given = vectors.store(graph, subject.samples, subject.inputs)
    made = host.run(subject.tried, given)
    target, needed = subject.used, facts["arena"]
    contents = package.Contents(
        name=next(PurePath(name).stem for name in subject.sources if name.endswith(".h")),
        arrays=subject.sources,
        model_bytes=len(subject.deployed),
        calls=tuple(facts["operators"]),
        arena_bytes=needed["constant_bytes"],
        arena_note=needed["why"],
        inputs=inputs,
        outputs=outputs,
        vectors=tuple(package.Vector(tuple(x), tuple(y)) for x, y in zip(given, made, strict=True)),
        labels=tuple(subject.labels),
        tolerance=1 if target.accelerator or target.kernels in INEXACT else 0,
        resource_variables=package.resource_variables(graph),
        variable_tensors=package.variable_tensors(graph),
        target=target.id,
        kernels=target.kernels,
        accelerator=target.accelerator,
        provenance=subject.provenance,
        fit=tuple(facts["fit"]["lines"]),
        checks=_checks(facts),
    )
    return package.write(contents)


def _checks(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Lines for the package's README on what was verified."""
    return (
        f"{facts['runtime']} on a workstation: {facts['parity']['sentence']}.",
        f"The arena was found there, too. {facts['arena']['why']}",
    )
