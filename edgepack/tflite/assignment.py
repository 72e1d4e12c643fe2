"""Decides which format each operator of a graph is quantized to, and says what cannot be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgepack.errors import StepError
from edgepack.tflite.counting import Place, places, title
from edgepack.tflite.scheme import Rule, Scheme
from edgepack.tflite.subgraph import Graph, Operator
from edgepack.tflite.weight_layout import weights_of
from edgepack.training.properties import measure


@dataclass(frozen=True)
class Format:
    """How an operator is quantized.

    Attributes:
        bits: of its weights.
        whole: whether a weight has one scale for all its channels.
    """

    bits: int = 8
    whole: bool = False


@dataclass(frozen=True)
class Assignment:
    """Who gets what.

    Attributes:
        formats: of the operators that are quantized, by their index.
        remarks: what was asked for and cannot be had, as sentences.
    """

    formats: Mapping[int, Format]
    remarks: tuple[str, ...]


Supported = Callable[[str, Format], bool]
"""Told an operator's code and a format, whether that can be made."""


def assign(graph: Graph, scheme: Scheme, rules: Sequence[Rule], supported: Supported) -> Assignment:
    """The format of each operator of the graph that runs; of several rules for one, the last wins.

    Weights that share few values over all channels get one scale, as one for each channel would
    undo the sharing. Where 4 bits cannot be had it is 8, and where those cannot, float.

    Args:
        graph: of a float model.
        scheme: what all operators get that no rule is for.
        rules: the exceptions.
        supported: what can be made.

    Raises:
        StepError: if a rule is for no operator.
    """
    shared = {p.tensor.index for p in places(graph) if p.where == 0 and _is_clustered(p)}
    weighted = {o.index: t.index in shared for o, t, _ in weights_of(graph)}
    formats: dict[int, Format] = {}
    lowered: list[str] = []
    left: Counter[str] = Counter()
    for operator in graph.operators:
        clustered = weighted.get(operator.index)
        if clustered is None and (scheme.kind != "static" or not _is_real(graph, operator)):
            continue
        wanted = _choices(_wanted(operator, scheme, rules), operator, clustered, scheme)
        found = next((f for f in wanted if supported(operator.code, f)), None)
        if found:
            formats[operator.index] = found
        if found and found.bits != wanted[0].bits:
            lowered.append(title(operator))
        left[operator.code] += int(bool(wanted) and found is None)
    _check_rules(graph, rules)
    return Assignment(formats, tuple(_remarks(lowered, +left, graph)))


def _wanted(operator: Operator, scheme: Scheme, rules: Sequence[Rule]) -> str:
    asked = [rule.format for rule in rules if rule.covers(operator.code, _names(operator))]
    return asked[-1] if asked else scheme.weights


def _names(operator: Operator) -> frozenset[str]:
    """What a rule may call an operator."""
    return frozenset({title(operator), operator.label} - {""})


def _choices(
    wanted: str, operator: Operator, clustered: bool | None, scheme: Scheme
) -> list[Format]:
    """Formats to try, the wanted one first; 4 bits are for weights, not for what has none.

    LiteRT 2.1 makes NaN of a dynamic depthwise convolution with one scale for all channels.

    Args:
        wanted: one of `edgepack.tflite.scheme.FORMATS`.
        operator: what is quantized.
        clustered: whether its weights share few values; None where it has no weights.
        scheme: of the model.
    """
    if wanted == "float":
        return []
    whole = not scheme.per_channel or bool(clustered)
    whole &= (scheme.kind, operator.code) != ("dynamic", "DEPTHWISE_CONV_2D")
    low = wanted == "int4" and clustered is not None
    return [Format(bits, whole) for bits in ((4, 8) if low else (8,))]


def _is_clustered(place: Place) -> bool:
    (structure,) = measure([place.weight()])
    return structure.clustered_in_tensor and structure.shares_beside_zeros


def _is_real(graph: Graph, operator: Operator) -> bool:
    """Whether it computes with real numbers, and not with shapes and indices."""
    outputs = [graph.tensors[i].dtype for i in operator.outputs if i >= 0]
    return set(outputs) == {"float32"}


def _check_rules(graph: Graph, rules: Sequence[Rule]) -> None:
    for rule in rules:
        if not any(rule.covers(o.code, _names(o)) for o in graph.operators):
            raise StepError(
                f"the rule {rule.text!r} is for no operator of the model",
                "edgepack inspect shows the operators and their layers",
            )


def _remarks(lowered: list[str], left: Counter[str], graph: Graph) -> Iterator[str]:
    if lowered:
        names = ", ".join(dict.fromkeys(lowered))
        yield f"8 bits where 4 cannot be had: {names}"
    if left:
        counts = ", ".join(f"{code} ({count})" for code, count in sorted(left.items()))
        yield f"left float, as they cannot be quantized so: {counts}"
    if bodies := sum(bool(body.operators) for body in graph.bodies):
        yield f"left float, as only the graph that runs is quantized: {bodies} others"
