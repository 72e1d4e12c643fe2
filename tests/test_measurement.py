"""Statistics against numpy's, and how the processes of one measurement are joined."""

from __future__ import annotations

from dataclasses import replace

import measured
import numpy as np
import pytest

from edgepack.errors import DeviceError
from edgepack.measuring.interval import median_interval
from edgepack.measuring.measurement import Measurement, merge
from edgepack.measuring.statistics import mad, median, outliers, percentile


def latency(*processes: list[float]) -> Measurement:
    values = tuple(map(tuple, processes))
    conditions = tuple({"number": i} for i in range(len(values)))
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


@pytest.mark.parametrize(("processes", "spread"), [(3, 0.005), (3, 0.03), (1, 0.0)])
def test_interval_holds_the_true_median_95_times_in_100(processes: int, spread: float) -> None:
    """Of late values, neighbours that resemble one another, and processes that differ."""
    many = measured.latencies(10**6, processes=1000, spread=spread)
    truth = median([value for process in many for value in process])
    found = [
        median_interval(measured.latencies(seed, processes=processes, spread=spread), seed)
        for seed in range(200)
    ]
    assert sum(low <= truth <= high for low, high in found) >= 0.93 * len(found)


def test_interval_of_values_that_are_zero_is_about_the_median_itself() -> None:
    low, high = median_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    assert low < 1.0 < high and 1.0 - low == pytest.approx(high - 1.0)


def test_interval_of_one_value_is_that_value() -> None:
    assert median_interval([[2.0]]) == pytest.approx((2.0, 2.0))
    assert median_interval([[0.0]]) == (0.0, 0.0)


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
    with pytest.raises(DeviceError, match=r"changed .* threads is 1 and 2") as caught:
        merge([latency([1.0]), other])
    assert "measure again" in caught.value.hint
