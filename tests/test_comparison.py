"""Comparing measurements: the statistics on simulated ones, and what may be compared at all."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import measured
import pytest
from scipy import stats

from edgepack.errors import InputError
from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.comparability import FACTS, Difference, pair, split_by_model
from edgepack.measuring.comparison import (
    JUDGED,
    MEMORY_NOISE_KIB,
    OUTCOMES,
    TOLERANCE,
    Change,
    compare,
    diff,
    judge_change,
)
from edgepack.measuring.interval import QUANTILES, quantile
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.ratio import median_ratio
from edgepack.measuring.validity import judge

PAIRS = 40


def latency(seed: int, middle: float = 10.0, **how: Any) -> Measurement:
    return measured.measurement("latency", "ms", measured.latencies(seed, middle, **how))


@functools.cache
def simulate(slowdown: float, **how: Any) -> list[Change]:
    """Pairs of simulated measurements, compared."""
    return [
        judge_change(latency(2 * i, **how), latency(2 * i + 1, 10.0 * slowdown, **how))
        for i in range(PAIRS)
    ]


# The statistics


@pytest.mark.parametrize("how", [{}, {"spread": 0.03}, {"spread": 0.03, "processes": 6}])
def test_equal_ones_are_told_apart_in_at_most_5_of_100_cases(how: dict[str, Any]) -> None:
    changes = simulate(1.0, **how)
    assert sum(change.significant is True for change in changes) <= 0.05 * PAIRS
    assert how or {change.outcome for change in changes} == {"unchanged"}


def test_a_tenth_slower_is_a_regression_and_a_tenth_faster_an_improvement() -> None:
    for slowdown, outcome in ((1.1, "regression"), (0.9, "improvement")):
        outcomes = [change.outcome for change in simulate(slowdown)]
        assert outcomes.count(outcome) >= 0.95 * PAIRS


def test_more_processes_find_what_three_that_differ_much_do_not() -> None:
    few, many = (
        [change.outcome for change in simulate(1.1, spread=0.03, processes=n)].count("regression")
        for n in (3, 8)
    )
    assert few < 0.7 * PAIRS < 0.9 * PAIRS <= many


def test_a_change_within_the_tolerance_is_significant_and_no_regression() -> None:
    changes = simulate(1.03)
    assert sum(change.significant is True for change in changes) >= 0.8 * PAIRS
    assert {change.outcome for change in changes} <= {"unchanged", "unclear"}


def test_the_interval_holds_the_true_ratio_and_repeats() -> None:
    changes = simulate(1.1)
    held = [c.interval[0] <= 1.1 <= c.interval[1] for c in changes if c.interval]
    assert sum(held) >= 0.95 * PAIRS
    assert judge_change(latency(0), latency(1, 10.0 * 1.1)) == changes[0]


def test_the_ratio_the_other_way_round_is_the_inverse() -> None:
    a, b = (measured.latencies(seed, middle) for seed, middle in ((1, 10.0), (2, 11.0)))
    one, other = median_ratio(a, b), median_ratio(b, a)
    assert one and other
    assert one.value == pytest.approx(1 / other.value)
    assert math.log(one.high / one.low) == pytest.approx(math.log(other.high / other.low), rel=0.1)


def test_values_that_do_not_vary_have_an_interval_without_width() -> None:
    found = median_ratio([[2.0] * 5] * 3, [[3.0] * 5] * 3)
    assert found and (found.low, found.high) == (pytest.approx(1.5), pytest.approx(1.5))
    assert found.significant


@pytest.mark.parametrize(
    ("a", "b"),
    [([[1.0, 2.0]], [[1.0], [2.0]]), ([[1.0], [2.0]], [[1.0]]), ([[0.0], [1.0]], [[1.0], [2.0]])],
)
def test_one_process_or_a_zero_has_no_interval(a: Any, b: Any) -> None:
    assert median_ratio(a, b) is None


def test_quantiles_are_those_of_students_t_and_never_too_small() -> None:
    for freedom in range(1, len(QUANTILES) + 1):
        assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-4)
    for freedom in (11, 20, 60, 1000):
        assert 0 <= quantile(freedom) - stats.t.ppf(0.975, freedom) < 0.02


# Outcomes


def constant(metric: str, unit: str, *values: float) -> Measurement:
    """A measurement with one value in each process."""
    return measured.measurement(metric, unit, [[value] for value in values])


def outcome(metric: str, before: float, after: float) -> str:
    return judge_change(constant(metric, "KiB", before), constant(metric, "KiB", after)).outcome


def test_memory_of_one_process_is_judged_by_tolerance_and_noise() -> None:
    assert outcome("peak_memory", 50_000, 52_400) == "unchanged"
    assert outcome("peak_memory", 50_000, 52_600) == "regression"
    assert outcome("peak_memory", 52_600, 50_000) == "improvement"
    assert outcome("model_memory", 4_000, 4_000 + MEMORY_NOISE_KIB - 1) == "unchanged"
    assert outcome("model_memory", 4_000, 4_000 + MEMORY_NOISE_KIB) == "regression"
    assert outcome("model_memory", 0, 10_000) == "regression"
    assert outcome("model_memory", 10_000, 0) == "improvement"


def test_memory_of_one_process_claims_no_significance() -> None:
    change = judge_change(constant("peak_memory", "KiB", 1e5), constant("peak_memory", "KiB", 2e5))
    assert (change.interval, change.significant) == (None, None)
    assert change.reason == "by one value each"
    nothing = judge_change(constant("model_memory", "KiB", 0), constant("model_memory", "KiB", 9e4))
    assert nothing.ratio is None


def test_memory_of_several_processes_is_judged_by_its_interval() -> None:
    before = constant("peak_memory", "KiB", 50_000, 50_100, 50_050)
    after = constant("peak_memory", "KiB", 60_000, 60_100, 60_150)
    wild = constant("peak_memory", "KiB", 50_000, 80_000, 60_000)
    assert judge_change(before, after).outcome == "regression"
    assert judge_change(before, wild).outcome == "unclear"


def test_latency_of_one_process_is_not_judged() -> None:
    change = judge_change(latency(1, processes=1), latency(2, 20.0, processes=1))
    assert change.outcome == "unjudged" and "one process" in change.reason


def test_load_is_shown_and_not_judged() -> None:
    change = judge_change(constant("load", "ms", 1.0, 1.1), constant("load", "ms", 9.0, 9.1))
    assert (change.outcome, change.reason) == ("shown", "")
    assert change.ratio == pytest.approx(8.62, abs=0.01)


def test_the_tolerance_decides() -> None:
    a, b = latency(1), latency(2, 11.0)
    assert [judge_change(a, b, t).outcome for t in (0.0, 0.05, 0.15)] == [
        "regression",
        "regression",
        "unchanged",
    ]


# Comparability


CHANGED: dict[str, dict[str, Any]] = {
    "model": {"content": "another"},
    "device": {"device": "pi-2"},
    "board": {"cpu": "Raspberry Pi 5 Model B Rev 1.0"},
    "machine": {"machine": "armv7l"},
    "cores": {"cores": 2},
    "runtime": {"runtime": "tflite-runtime"},
    "runtime_version": {"runtime_version": "2.3.0"},
    "delegate": {"delegate": "none"},
    "threads": {"threads": 4},
    "inputs": {"inputs": "random"},
    "batch": {"batch": 8},
}


@pytest.mark.parametrize("fact", [name for name in FACTS if name != "governor"])
def test_each_fact_must_be_equal_or_allowed(fact: str) -> None:
    a, b = measured.benchmark(), measured.benchmark(1, **CHANGED[fact])
    refused = compare(a, b)
    assert refused.outcome == "not-comparable" and refused.changes == ()
    assert [d.fact for d in refused.refused] == [fact]
    assert refused.refused[0].a != refused.refused[0].b
    allowed = compare(a, b, allow=[fact])
    assert allowed.outcome == "unchanged" and allowed.allowed == refused.refused


def with_governors(benchmark: Benchmark, *governors: str) -> Benchmark:
    state = {**measured.STATE, "governors": list(governors)}
    changed = tuple(
        replace(m, conditions=tuple({"before": state, "after": state} for _ in m.conditions))
        for m in benchmark.measurements
    )
    return replace(benchmark, measurements=changed)


def test_governors_must_be_equal_or_allowed() -> None:
    a = with_governors(measured.benchmark(), "performance")
    b = with_governors(measured.benchmark(1), "ondemand", "schedutil")
    assert compare(a, b).refused == (Difference("governor", "performance", "ondemand, schedutil"),)
    assert compare(a, with_governors(b)).refused[0].b == "unknown"
    assert compare(a, b, allow=["governor"]).outcome == "unchanged"


def test_units_must_be_equal_whatever_is_allowed() -> None:
    a = measured.benchmark()
    odd = replace(a, measurements=(replace(a.measurements[0], unit="KiB"), *a.measurements[1:]))
    found = compare(a, odd, allow=list(FACTS))
    assert found.refused == (Difference("unit of latency", "ms", "KiB"),)


def test_another_kernel_is_noted_and_does_not_stop_a_comparison() -> None:
    found = compare(measured.benchmark(), measured.benchmark(1, kernel="6.18", python="3.13.5"))
    assert [d.fact for d in found.noted] == ["kernel", "python"]
    assert found.outcome == "unchanged"


def test_an_invalid_measurement_is_not_judged_and_a_degraded_one_warned_of() -> None:
    good = measured.benchmark()
    bad = measured.benchmark(1, judged=measured.verdict("invalid", "spread-wide"))
    rough = measured.benchmark(1, judged=measured.verdict("degraded", "other-load"))
    found = compare(good, bad)
    assert (found.outcome, found.changes) == ("unjudged", ())
    assert found.invalid == ("B is invalid: spread-wide",)
    assert compare(bad, good).invalid == ("A is invalid: spread-wide",)
    warned = compare(good, rough)
    assert (warned.outcome, warned.warnings) == ("unchanged", ("B is degraded: other-load",))


def test_a_metric_that_one_side_lacks_is_warned_of() -> None:
    a = measured.benchmark()
    found = compare(a, replace(a, measurements=a.measurements[:2]))
    assert found.warnings == ("only A has model_memory",)
    assert [change.metric for change in found.changes] == ["latency", "peak_memory"]


# Pairs


def test_a_sweep_is_paired_by_threads_in_any_order() -> None:
    a = [measured.benchmark(i, threads=i) for i in (1, 2, 4)]
    b = [measured.benchmark(9 + i, threads=i) for i in (4, 1, 8)]
    pairs, only_a, only_b = pair(a, b)
    assert [(x.settings["threads"], y.settings["threads"]) for x, y in pairs] == [(1, 1), (4, 4)]
    assert (only_a, only_b) == ([a[1]], [b[2]])


def test_equal_names_are_told_apart_by_content() -> None:
    a = [measured.benchmark(i, name="model.tflite", content=c) for i, c in enumerate("xy")]
    pairs, *rest = pair(a, a[::-1])
    assert pairs == [(a[0], a[0]), (a[1], a[1])] and rest == [[], []]


def test_a_new_version_is_paired_by_its_name() -> None:
    a = [measured.benchmark(name=n, content=f"old {n}") for n in ("x", "y")]
    b = [measured.benchmark(name=n, content=f"new {n}") for n in ("y", "x")]
    assert pair(a, b)[0] == [(a[0], b[1]), (a[1], b[0])]


def test_a_renamed_model_is_paired_where_models_may_differ() -> None:
    a = [measured.benchmark(name="v1", threads=i) for i in (1, 2)]
    b = [measured.benchmark(name="v2", threads=i) for i in (2, 1)]
    assert pair(a, b)[0] == []
    assert pair(a, b, ["model"])[0] == [(a[0], b[1]), (a[1], b[0])]


def test_one_alone_on_each_side_is_a_pair_and_says_what_differs() -> None:
    a, b = measured.benchmark(threads=1), measured.benchmark(device="pi-2", threads=4)
    found = diff([a], [b])
    assert found.outcome == "not-comparable"
    assert [d.fact for d in found.comparisons[0].refused] == ["device", "threads"]


def test_two_of_the_same_are_paired_with_neither() -> None:
    a = [measured.benchmark(1), measured.benchmark(2)]
    pairs, only_a, only_b = pair(a, [measured.benchmark(3)])
    assert (pairs, len(only_a), len(only_b)) == ([], 2, 1)


def test_two_models_of_one_document() -> None:
    made = [measured.benchmark(name=n, threads=t) for t in (1, 2) for n in ("x", "y")]
    first, second = split_by_model(made)
    assert [b.model["name"] for b in first + second] == ["x", "x", "y", "y"]
    for wrong in (made[:1], [*made, measured.benchmark(name="z")]):
        with pytest.raises(InputError, match=r"holds measurements of \d models, not of two"):
            split_by_model(wrong)


def test_what_matters_most_decides() -> None:
    same, slow = measured.benchmark(1), measured.benchmark(2, middle=12.0, threads=2)
    found = diff([same, measured.benchmark(3, threads=2)], [same, slow])
    assert [c.outcome for c in found.comparisons] == ["unchanged", "regression"]
    assert found.outcome == "regression" and OUTCOMES.index("regression") == 1
    assert diff([same], [measured.benchmark(1, name="y"), same]).outcome == "unchanged"
    assert diff([], []).outcome == "not-comparable"


def test_simulated_latencies_are_such_as_are_judged_valid() -> None:
    still = {"before": measured.STATE, "after": measured.STATE, "warmup_settled": True}
    made = replace(latency(1), conditions=(still,) * 3)
    assert judge(made).state == "valid"
    assert set(JUDGED) <= {m.metric for m in measured.benchmark().measurements}
    assert 0 < TOLERANCE < 0.1
