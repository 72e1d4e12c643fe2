"""How to measure: what a cell of a sweep is measured with, and how a session behaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How to measure one model.

    Attributes:
        threads: of the runtime.
        delegate: what runs the operators: ``xnnpack``, ``none`` or ``edgetpu``.
        runs: the fewest timed runs in each process.
        seconds: the shortest time of timed runs in each process, in s.
        processes: of latency; memory has one of its own.
        warmup_s: the longest warm-up in each process, in s.
        timeout_s: after this a process is killed, in s.
        operators: whether single operators are timed, in a process of their own.
        runtime: the runtime's name.
    """

    threads: int = 1
    delegate: str = "xnnpack"
    runs: int = 50
    seconds: float = 1.0
    processes: int = 3
    warmup_s: float = 5.0
    timeout_s: float = 600.0
    operators: bool = False
    runtime: str = "litert"


@dataclass(frozen=True)
class Manners:
    """How a session behaves towards a device and its other users.

    Attributes:
        accept_new_host_key: whether an unknown host key is taken down as known.
        wheelhouse: a folder of wheels to take a runtime from instead of the registry.
        runtime_version: of the runtime to bring along; empty for edgepack's own choice.
        wait_s: how long to wait for somebody who measures there, in s.
        cool_c: a process begins only below this temperature, in degrees Celsius; 0 for 10 less
            than where such a device throttles.
        cool_wait_s: how long to wait for that in all, in s.
    """

    accept_new_host_key: bool = False
    wheelhouse: Path | None = None
    runtime_version: str = ""
    wait_s: float = 600.0
    cool_c: float = 0.0
    cool_wait_s: float = 300.0
