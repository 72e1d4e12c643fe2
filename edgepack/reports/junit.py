"""What ``edgepack diff --junit`` writes: each metric as a test, for systems that read JUnit XML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.comparability import Difference
from edgepack.measuring.comparison import Change, Comparison, Diff

SUITE = "edgepack diff"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write (its section 2.2)."""


def render(diff: Diff) -> str:
    """A whole document.

    A regression is a failure; what cannot be compared or believed is an error; what has no
    counterpart is skipped, or an error where B must have it.
    """
    root = Element("testsuites", name=SUITE)
    for comparison in diff.comparisons:
        root.append(_suite(comparison))
    for side, other, benchmarks in (("A", "B", diff.only_a), ("B", "A", diff.only_b)):
        for benchmark in benchmarks:
            why = f"only {side} has it, {other} does not"
            wanted = any(benchmark is missing for missing in diff.missing)
            root.append(_lone_suite(benchmark, why, wanted=wanted))
    _count(root, [root])
    indent(root)
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + tostring(root, encoding="unicode") + "\n"


def _suite(comparison: Comparison) -> Element:
    suite = _new_suite(comparison.b)
    wrong = [*map(_difference, comparison.refused), *comparison.invalid]
    if wrong:
        kind = "not-comparable" if comparison.refused else "invalid"
        _note(_case(suite, "comparable"), "error", kind, "; ".join(wrong))
    for change in comparison.changes:
        if change.outcome != "shown":
            _judge(_case(suite, change.metric), change)
    warned = [*comparison.warnings, *map(_difference, comparison.noted)]
    if warned:
        SubElement(suite, "system-out").text = clean("\n".join(warned))
    _count(suite, [suite])
    return suite


def _judge(case: Element, change: Change) -> None:
    told = _words(change)
    if change.outcome == "regression":
        _note(case, "failure", "regression", told)
    elif change.outcome == "unjudged":
        _note(case, "error", "unjudged", told)
    else:
        SubElement(case, "system-out").text = clean(told)


def _words(change: Change) -> str:
    ratio = "" if change.ratio is None else f", {change.ratio:.3f} times"
    interval = " ({:.3f} to {:.3f})".format(*change.interval) if change.interval else ""
    reason = f", {change.reason}" if change.reason else ""
    values = f"{change.a:.6g} {change.unit} and {change.b:.6g} {change.unit}"
    return f"{change.outcome}: {change.metric} is {values}{ratio}{interval}{reason}"


def _difference(found: Difference) -> str:
    return f"{found.fact} is {found.a} in A and {found.b} in B"


def _lone_suite(benchmark: Benchmark, why: str, *, wanted: bool) -> Element:
    suite = _new_suite(benchmark)
    case = _case(suite, "comparable")
    if wanted:
        _note(case, "error", "missing", why)
    else:
        SubElement(case, "skipped", message=why)
    _count(suite, [suite])
    return suite


def _new_suite(benchmark: Benchmark) -> Element:
    time = benchmark.created.removesuffix("Z")
    return Element("testsuite", name=clean(benchmark.title), timestamp=time, time="0")


def _case(suite: Element, name: str) -> Element:
    return SubElement(suite, "testcase", classname=suite.get("name", ""), name=name, time="0")


def _note(case: Element, tag: str, kind: str, text: str) -> None:
    SubElement(case, tag, type=kind, message=clean(text)).text = clean(text)


def _count(place: Element, suites: Iterable[Element]) -> None:
    """Write down how many tests an element holds, and how they ended."""
    for kind, tag in (
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        place.set(kind, str(sum(len(list(suite.iter(tag))) for suite in suites)))


def clean(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return NOT_XML.sub("", text)
