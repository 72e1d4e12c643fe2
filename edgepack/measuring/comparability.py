"""Which benchmarks may be compared: pairs of the same thing, measured under the same conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack.errors import InputError
from edgepack.measuring.benchmark import Benchmark

Key = Callable[[Benchmark], Any]
Pair = tuple[Benchmark, Benchmark]

JUDGED = ("latency", "peak_memory", "model_memory")
"""The metrics that can regress."""


@dataclass(frozen=True)
class Difference:
    """A fact that is not the same in two benchmarks.

    Attributes:
        fact: its name.
        a: its value in the first.
        b: its value in the second.
    """

    fact: str
    a: Any
    b: Any


def environment(benchmark: Benchmark) -> Mapping[str, Any]:
    """What the first of its measurements, mostly the latency, says of where it was made."""
    return benchmark.measurements[0].environment


def _seen(name: str) -> Key:
    return lambda b: environment(b).get(name, b.settings.get(name))


def _governors(benchmark: Benchmark) -> str:
    """The CPU governors, or ``unknown`` where the device does not tell."""
    found: set[str] = set()
    for condition in benchmark.measurements[0].conditions:
        for when in ("before", "after"):
            found |= set(condition.get(when, {}).get("governors", ()))
    return ", ".join(sorted(found)) or "unknown"


FACTS: Mapping[str, Key] = {
    "model": lambda b: b.model["sha256"],
    "device": lambda b: b.device["name"],
    "board": _seen("cpu"),
    "machine": _seen("machine"),
    "cores": _seen("cores"),
    "runtime": _seen("runtime"),
    "runtime_version": _seen("runtime_version"),
    "delegate": _seen("delegate"),
    "threads": _seen("threads"),
    "governor": _governors,
    "inputs": _seen("inputs"),
    "batch": _seen("batch"),
}
"""What must be equal in two benchmarks, unless it is to be compared."""


def differences(a: Benchmark, b: Benchmark) -> list[Difference]:
    """The facts of `FACTS` that differ, and units."""
    values = [(name, fact(a), fact(b)) for name, fact in FACTS.items()]
    units = [{m.metric: m.unit for m in side.measurements} for side in (a, b)]
    shared = [m for m in JUDGED if m in units[0] and m in units[1]]
    values += [(f"unit of {metric}", units[0][metric], units[1][metric]) for metric in shared]
    return [Difference(*row) for row in values if row[1] != row[2]]


def side_notes(a: Benchmark, b: Benchmark) -> list[Difference]:
    """What else differs in the environment, such as the kernel, and is worth a word."""
    here, there = environment(a), environment(b)
    names = sorted((here.keys() | there.keys()) - FACTS.keys() - {"cpu"})
    rows = [(name, here.get(name), there.get(name)) for name in names]
    return [Difference(*row) for row in rows if row[1] != row[2]]


def pair(
    a: Sequence[Benchmark], b: Sequence[Benchmark], allow: Collection[str] = ()
) -> tuple[list[Pair], list[Benchmark], list[Benchmark]]:
    """Pair the benchmarks of two documents.

    The model's content, its name, the device, threads and delegate decide; then the same without
    the content; then without whatever is allowed to differ. One alone on each side is a pair.

    Returns:
        the pairs in the order of ``a``, what is left of ``a``, and what is left of ``b``.
    """
    rest_a, rest_b = list(a), list(b)
    pairs: list[Pair] = []
    for key in _keys(allow):
        keys_b = {key(x): x for x in _unique(rest_b, key)}
        found = [(x, keys_b[key(x)]) for x in _unique(rest_a, key) if key(x) in keys_b]
        pairs += found
        rest_a = [x for x in rest_a if not any(x is pair[0] for pair in found)]
        rest_b = [x for x in rest_b if not any(x is pair[1] for pair in found)]
    if len(a) == len(b) == 1 and rest_a:
        return [(a[0], b[0])], [], []
    order = {id(benchmark): i for i, benchmark in enumerate(a)}
    return sorted(pairs, key=lambda pair: order[id(pair[0])]), rest_a, rest_b


def _unique(benchmarks: Sequence[Benchmark], key: Key) -> list[Benchmark]:
    """Those whose key no other one has."""
    counts = Counter(key(benchmark) for benchmark in benchmarks)
    return [benchmark for benchmark in benchmarks if counts[key(benchmark)] == 1]


def _keys(allow: Collection[str]) -> list[Key]:
    """What pairs benchmarks, from the narrowest to the widest."""
    narrow = _key("sha256", "name", "device", "threads", "delegate")
    names = ["device", "threads", "delegate", *(() if "model" in allow else ("name",))]
    wide = _key(*(name for name in names if name not in allow))
    return [narrow, _key("name", "device", "threads", "delegate"), wide]


def _key(*names: str) -> Key:
    return lambda benchmark: tuple(_IDENTITY[name](benchmark) for name in names)


_IDENTITY: Mapping[str, Key] = {
    "sha256": lambda b: b.model["sha256"],
    "name": lambda b: b.model["name"],
    "device": lambda b: b.device["name"],
    "threads": lambda b: b.settings["threads"],
    "delegate": lambda b: b.settings["delegate"],
}


def split_by_model(benchmarks: Sequence[Benchmark]) -> tuple[list[Benchmark], list[Benchmark]]:
    """The benchmarks of two models that were measured together.

    Raises:
        InputError: if they are not of two models.
    """
    models = list(dict.fromkeys(benchmark.model["sha256"] for benchmark in benchmarks))
    if len(models) != 2:
        raise InputError(
            f"one file to compare holds measurements of {len(models)} models, not of two",
            "name two files, or measure two models in turns: edgepack bench A B --out FILE",
        )
    first = [benchmark for benchmark in benchmarks if benchmark.model["sha256"] == models[0]]
    return first, [b for b in benchmarks if b.model["sha256"] == models[1]]
