"""Times calls: values long enough for the clock, a warm-up that ends when the median settles."""

from __future__ import annotations

import time
from typing import Any, Callable, List, Tuple

SHORTEST_VALUE_NS = 50000
WINDOW_RUNS = 5
WINDOW_S = 0.1
WINDOWS = 3
SETTLED = 0.03
LOOK_S = 0.5
"""Time between two looks at the machine."""


def timed(call: Callable[[], Any], per_value: int) -> int:
    """The time of a few calls back to back, in ns."""
    clock = time.perf_counter_ns
    start = clock()
    for _ in range(per_value):
        call()
    return clock() - start


def nothing() -> None:
    """What is timed to know what timing costs."""


def overhead_ns(per_value: int) -> float:
    """What timing adds to one run, in ns: the median of a thousand empty values."""
    return middle([timed(nothing, per_value) for _ in range(1000)]) / per_value


def warm_up(call: Callable[[], Any], limit_s: float) -> Tuple[int, List[int], bool]:
    """Run until the medians of the last windows agree within 3 %, or the limit has passed.

    Returns:
        the runs of one value, the values, and whether they settled.
    """
    per_value = runs_per_value(call)
    values, medians = [], []  # type: List[int], List[int]
    end = time.perf_counter_ns() + limit_s * 1e9
    while True:
        window = timed_runs(call, per_value, WINDOW_RUNS, WINDOW_S)
        values += window
        medians.append(middle(window))
        last = medians[-WINDOWS:]
        settled = len(last) == WINDOWS and max(last) - min(last) <= SETTLED * min(last)
        if settled or (len(last) == WINDOWS and time.perf_counter_ns() >= end):
            return per_value, values, settled


def runs_per_value(call: Callable[[], Any]) -> int:
    """So many runs that a value lasts at least 50 us, as a power of two; 1 for most models."""
    count = 1
    while any(timed(call, count) < SHORTEST_VALUE_NS for _ in range(3)):
        count *= 2
    return count


def timed_runs(
    call: Callable[[], Any],
    per_value: int,
    runs: int,
    seconds: float,
    look: Callable[[], Any] = nothing,
) -> List[int]:
    """Values of at least so many runs over at least so many seconds, in ns.

    About every `LOOK_S` seconds, between two values, ``look`` is called, and after it the runs of
    one value without keeping their time, because the look used the caches.
    """
    clock = time.perf_counter_ns
    values = []  # type: List[int]
    start = clock()
    end, due = start + seconds * 1e9, start + LOOK_S * 1e9
    while len(values) < runs or clock() < end:
        values.append(timed(call, per_value))
        if look is not nothing and clock() >= due:
            look()
            timed(call, per_value)
            due = clock() + LOOK_S * 1e9
    return values


def middle(values: List[int]) -> int:
    """The upper median."""
    return sorted(values)[len(values) // 2]


def clock_tick_ns() -> int:
    """The smallest step that the clock was seen to make."""
    steps = []
    for _ in range(100):
        start = now = time.perf_counter_ns()
        while now == start:
            now = time.perf_counter_ns()
        steps.append(now - start)
    return min(steps)
