"""Statistics against numpy's, verdicts as data, and the published JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from edgepack.errors import InputError
from edgepack.measuring.measurement import (
    Benchmark,
    Measurement,
    from_json,
    mad,
    median,
    median_interval,
    merge,
    outliers,
    percentile,
    to_json,
)
from edgepack.measuring.validity import FEW_RUNS, RULES, STATES, judge

STILL: dict[str, Any] = {"governors": [], "frequencies_khz": [], "temperatures_c": []}


def latency(*processes: list[float], **condition: Any) -> Measurement:
    """Latencies with the same condition in each process."""
    known = {"before": STILL, "after": STILL, "warmup_settled": True, "other_cores": 0.0}
    conditions = tuple({**known, **condition} for _ in processes)
    values = tuple(map(tuple, processes))
    return Measurement("latency", "ms", values, ((1.5,),) * len(values), {"threads": 1}, conditions)


def steady(count: int = 100, middle: float = 1.0) -> list[float]:
    """Values within 1 % of their middle."""
    return [middle * (1 + 0.001 * (i % 21 - 10)) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_percentiles_agree_with_numpy(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count).tolist()
    for percent in (0, 10, 50, 90, 95, 99, 100):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_mad_is_the_median_of_the_distances() -> None:
    assert mad([1, 1, 2, 2, 4, 6, 9]) == 1


def test_outliers_are_flagged_and_stay_in_the_statistics() -> None:
    values = [*steady(100), 100.0]
    summary = latency(values).summary()
    assert summary.outliers == (100,)
    assert (summary.count, summary.maximum) == (101, 100.0)


def test_outlier_threshold_is_14_8_times_mad() -> None:
    base = [9.0, 10.0, 11.0] * 20
    assert outliers([*base, 10 + 14.7]) == []
    assert outliers([*base, 10 + 15.0]) == [60]


def test_outliers_are_found_where_most_values_are_equal() -> None:
    assert outliers([1.0] * 100 + [2.0]) == [100]
    assert outliers([1.0] * 100) == []


def test_interval_holds_the_median_and_narrows_with_more_values() -> None:
    random = np.random.default_rng(1)
    few, many = (tuple(random.normal(10, 1, n)) for n in (60, 6000))
    widths = []
    for values in (few, many):
        low, high = median_interval([values])
        assert low <= median(values) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_interval_covers_the_true_median_about_95_times_in_100() -> None:
    random = np.random.default_rng(2)
    hits = 0
    for seed in range(100):
        low, high = median_interval([tuple(random.exponential(1, 300))], seed)
        hits += low <= np.log(2) <= high
    assert 85 <= hits <= 100


def test_interval_widens_where_processes_differ() -> None:
    low, high = median_interval([steady(100, 1.0), steady(100, 1.2), steady(100, 1.1)])
    assert high - low > 0.1


def test_interval_repeats_for_the_same_values() -> None:
    assert median_interval([steady()]) == median_interval([steady()])


def test_merge_joins_processes_in_order() -> None:
    joined = merge([latency([1.0, 2.0]), latency([3.0])])
    assert joined.values == ((1.0, 2.0), (3.0,))
    assert joined.warmups == ((1.5,), (1.5,))
    assert len(joined.conditions) == 2


def test_merge_refuses_unlike_runs() -> None:
    other = replace(latency([1.0]), environment={"threads": 2})
    with pytest.raises(InputError, match="threads is 1 and 2"):
        merge([latency([1.0]), other])


# Verdicts


def test_a_quiet_measurement_is_valid() -> None:
    verdict = judge(latency(steady(), steady()))
    assert (verdict.state, verdict.findings) == ("valid", ())


ONDEMAND = {**STILL, "governors": ["ondemand"]}
FIXED = {**STILL, "governors": ["performance"]}
FAST, SLOW = ({**STILL, "frequencies_khz": [f]} for f in (1_500_000, 600_000))
SPREAD = [1.0, 1.2, 0.8] * 30
FAR = [1.0, 2.0, 0.1] * 30

CASES = [
    ("too-few-runs", "degraded", latency(steady(FEW_RUNS - 1))),
    ("too-few-runs", "invalid", latency(steady(5))),
    ("warmup-unsettled", "degraded", latency(steady(), warmup_settled=False)),
    ("spread-wide", "degraded", latency(SPREAD)),
    ("spread-wide", "invalid", latency(FAR)),
    ("processes-differ", "degraded", latency(steady(), steady(100, 1.1))),
    ("processes-differ", "invalid", latency(steady(), steady(100, 1.5))),
    ("other-load", "degraded", latency(steady(), other_cores=0.8)),
    ("governor-not-fixed", "degraded", latency(steady(), after=ONDEMAND)),
    ("frequency-changed", "degraded", latency(steady(), before=FAST, after=SLOW)),
    ("clock-too-coarse", "invalid", latency(steady(), clock_ticks_per_value=3.0)),
]


@pytest.mark.parametrize(("code", "state", "measurement"), CASES)
def test_verdict(code: str, state: str, measurement: Measurement) -> None:
    verdict = judge(measurement)
    assert verdict.to_json()["codes"] == [code]
    assert verdict.state == state
    assert all(finding.message and finding.hint for finding in verdict.findings)


def test_every_rule_has_a_case() -> None:
    assert len({code for code, _, _ in CASES}) == len(RULES)


def test_the_worst_finding_decides() -> None:
    verdict = judge(latency(steady(5), other_cores=1.0))
    assert verdict.state == "invalid"
    assert {finding.state for finding in verdict.findings} == set(STATES[1:])


def test_a_fixed_governor_an_unreadable_load_and_one_core_more_are_no_findings() -> None:
    quiet = latency(steady(), after=FIXED, other_cores=None)
    assert judge(quiet).findings == ()
    assert judge(latency(steady(), before=STILL, after=FAST)).findings == ()


# JSON


def benchmark() -> Benchmark:
    return Benchmark({"name": "m"}, {"name": "local"}, {"runs": 50}, (latency([1.0, 2.0], [3.0]),))


def test_json_comes_back_whole() -> None:
    assert from_json(json.loads(json.dumps(to_json(benchmark())))) == benchmark()


def test_json_holds_raw_values_and_statistics() -> None:
    entry = to_json(benchmark())["measurements"][0]
    assert entry["values"] == ((1.0, 2.0), (3.0,))
    assert entry["summary"] == asdict(benchmark().measurements[0].summary())


@pytest.mark.parametrize("version", [None, 2, "1"])
def test_another_schema_version_is_refused(version: object) -> None:
    with pytest.raises(InputError, match="schema version"):
        from_json({**to_json(benchmark()), "schema_version": version})


def test_a_torn_document_is_refused() -> None:
    data = to_json(benchmark())
    del data["measurements"][0]["warmups"]
    with pytest.raises(InputError, match=r"not whole.*warmups"):
        from_json(data)
