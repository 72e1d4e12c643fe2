"""Verdicts as data: what was seen, and the finding that it must lead to."""

from __future__ import annotations

from typing import Any

import pytest

from edgepack.measuring.measurement import Measurement
from edgepack.measuring.timing_rules import FEW_RUNS
from edgepack.measuring.validity import RULES, STATES, Finding, judge

STILL: dict[str, Any] = {"governors": [], "frequencies_khz": [], "temperatures_c": []}


def latency(*processes: list[float], machine: str = "aarch64", **condition: Any) -> Measurement:
    """Latencies with the same condition in each process."""
    known = {"before": STILL, "after": STILL, "warmup_settled": True, "other_cores": 0.0}
    conditions = tuple({**known, **condition} for _ in processes)
    values = tuple(map(tuple, processes))
    environment = {"machine": machine, "threads": 1}
    return Measurement("latency", "ms", values, ((1.5,),) * len(values), environment, conditions)


def steady(count: int = 100, middle: float = 1.0) -> list[float]:
    """Values within 1 % of their middle."""
    return [middle * (1 + 0.001 * (i % 21 - 10)) for i in range(count)]


def seen(**fact: Any) -> dict[str, Any]:
    return {**STILL, **fact}


ONDEMAND = seen(governors=["ondemand"])
FIXED = seen(governors=["performance"])
FAST, SLOW = (seen(frequencies_khz=[f] * 4) for f in (1_500_000, 600_000))
SPREAD = [1.0, 1.2, 0.8] * 30
FAR = [1.0, 2.0, 0.1] * 30


def hot(degrees: float) -> dict[str, Any]:
    return seen(temperatures_c=[40.0, degrees])


def bits(value: int | None) -> dict[str, Any]:
    return seen(throttled=value)


OLD = 0x50000
CASES = [
    ("too-few-runs", "degraded", latency(steady(FEW_RUNS - 1))),
    ("too-few-runs", "invalid", latency(steady(5))),
    ("warmup-unsettled", "degraded", latency(steady(), warmup_settled=False)),
    ("spread-wide", "degraded", latency(SPREAD)),
    ("spread-wide", "invalid", latency(FAR)),
    ("processes-differ", "degraded", latency(steady(), steady(100, 1.1))),
    ("processes-differ", "invalid", latency(steady(), steady(100, 1.5))),
    ("clock-too-coarse", "invalid", latency(steady(), clock_ticks_per_value=3.0)),
    ("overhead-high", "degraded", latency(steady(), overhead_ms=0.011)),
    ("other-load", "degraded", latency(steady(), other_cores=0.8)),
    ("governor-not-fixed", "degraded", latency(steady(), after=ONDEMAND)),
    ("frequency-changed", "degraded", latency(steady(), before=FAST, after=SLOW)),
    ("frequency-changed", "degraded", latency(steady(), before=FAST, during=[SLOW], after=FAST)),
    ("throttled", "invalid", latency(steady(), before=bits(0), after=bits(0x40000))),
    ("throttled", "invalid", latency(steady(), before=bits(0), during=[bits(4)], after=bits(0))),
    ("throttled", "invalid", latency(steady(), start=bits(0x10001), after=bits(0x10000))),
    ("throttled", "invalid", latency(steady(), before=bits(OLD), after=bits(OLD | 0x20000))),
    ("throttling-unknown", "degraded", latency(steady(), before=bits(OLD), after=bits(OLD))),
    ("throttling-unknown", "degraded", latency(steady(), start=bits(OLD), during=[bits(None)])),
    ("too-hot", "degraded", latency(steady(), start=hot(76.0))),
    ("too-hot", "invalid", latency(steady(), start=hot(82.0))),
    ("temperature-high", "degraded", latency(steady(), start=hot(60.0), during=[hot(81.0)])),
    ("model-replaced", "invalid", latency(steady(), model_sha256=["a" * 64, "b" * 64])),
]


@pytest.mark.parametrize(("code", "state", "measurement"), CASES)
def test_verdict(code: str, state: str, measurement: Measurement) -> None:
    verdict = judge(measurement)
    assert verdict.to_json()["codes"] == [code]
    assert verdict.state == state
    assert all(finding.message and finding.hint for finding in verdict.findings)


def test_every_rule_has_a_case() -> None:
    assert len({code for code, _, _ in CASES}) == len(RULES)


NO_FINDINGS = [
    latency(steady(), steady()),
    latency(steady(), after=FIXED, other_cores=None),
    latency(steady(), before=STILL, after=FAST),
    latency(steady(), start=SLOW, before=FAST, after=FAST),
    latency(steady(), before=seen(frequencies_khz=[6, 15]), after=seen(frequencies_khz=[15, 6])),
    latency(steady(), start=bits(OLD), before=bits(OLD), during=[bits(OLD)], after=bits(OLD)),
    latency(steady(), before=bits(None), after=bits(None)),
    latency(steady(), before=bits(OLD), during=[bits(None), bits(OLD)], after=bits(None)),
    latency(steady(), before=bits(0), during=[bits(None)], after=bits(0)),
    latency(steady(), start=hot(74.0), after=hot(79.0)),
    latency(steady(), machine="x86_64", start=hot(85.0), after=hot(90.0)),
    latency(steady(), overhead_ms=0.009),
    latency(steady(), model_sha256=["a" * 64, "a" * 64]),
    Measurement("latency", "ms", (tuple(steady()),)),
]


@pytest.mark.parametrize("measurement", NO_FINDINGS)
def test_no_findings(measurement: Measurement) -> None:
    assert judge(measurement).to_json() == {"state": "valid", "codes": [], "findings": []}


def test_a_process_is_judged_by_its_own_bits_only() -> None:
    """What happened between two processes is no fault of either."""
    first, second = (
        latency(steady(), before=bits(value), during=[bits(value)], after=bits(value))
        for value in (0, 0x40000)
    )
    both = Measurement(
        "latency",
        "ms",
        first.values + second.values,
        conditions=first.conditions + second.conditions,
    )
    assert judge(both).state == "valid"


def test_the_words_name_the_bits_and_the_remedy() -> None:
    (power,) = judge(latency(steady(), before=bits(0), after=bits(0x50005))).findings
    assert power.message.endswith("under-voltage, throttled")
    assert "power supply" in power.hint
    (heat,) = judge(latency(steady(), before=bits(0), after=bits(0x80000))).findings
    assert heat.message.endswith("soft temperature limit")
    assert "cool down" in heat.hint


def test_what_was_throttled_before_and_is_not_read_meanwhile_is_said() -> None:
    (finding,) = judge(latency(steady(), start=bits(OLD), after=bits(OLD))).findings
    assert "before the runs: under-voltage, throttled;" in finding.message
    assert "reboot" in finding.hint


def test_a_model_replaced_between_two_processes_is_found() -> None:
    conditions = ({"model_sha256": ["a", "a"]}, {"model_sha256": ["b", "b"]})
    values = (tuple(steady()), tuple(steady()))
    found = judge(Measurement("latency", "ms", values, conditions=conditions))
    assert found.to_json()["codes"] == ["model-replaced"]


def test_a_model_replaced_before_all_processes_is_found() -> None:
    measured = latency(steady(), model_sha256=["b" * 64, "b" * 64])
    assert judge(measured, "b" * 64).state == "valid"
    assert judge(measured, "a" * 64).to_json()["codes"] == ["model-replaced"]
    twice = latency(steady(), model_sha256=["a" * 64, "b" * 64])
    assert judge(twice, "a" * 64).to_json()["codes"] == ["model-replaced"]


def test_the_worst_finding_decides() -> None:
    verdict = judge(latency(steady(5), other_cores=1.0))
    assert verdict.state == "invalid"
    assert {finding.state for finding in verdict.findings} == set(STATES[1:])


def test_a_verdict_takes_one_more_finding() -> None:
    verdict = judge(latency(steady()))
    assert verdict.also(None) is verdict
    more = verdict.also(Finding("outputs-differ", "invalid", "they differ", "look"))
    assert (more.state, more.to_json()["codes"]) == ("invalid", ["outputs-differ"])
