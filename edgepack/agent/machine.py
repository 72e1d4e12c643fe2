"""The machine that the agent runs on: what it is, and how it is doing."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"


def identity() -> Dict[str, Any]:
    """What the machine is; it stays the same from run to run."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
    }


def cpu_name() -> str:
    """The processor's name; on a board, that of the board."""
    board = read_text("/proc/device-tree/model").strip("\0\n ")
    lines = read_text("/proc/cpuinfo").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return board or next(iter(names), platform.machine())


def state() -> Dict[str, Any]:
    """What may change while a measurement runs; an empty list is not readable here."""
    governors = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_governor")
    frequencies = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    temperatures = read_all(THERMAL, "thermal_zone*/temp")
    return {
        "load_average": os.getloadavg()[0],
        "governors": sorted(set(governors)),
        "frequencies_khz": [int(text) for text in frequencies if text.isdigit()],
        "temperatures_c": [int(t) / 1000 for t in temperatures if t.lstrip("-").isdigit()],
    }


def read_all(folder: str, pattern: str) -> List[str]:
    """The texts of all files that match."""
    return [read_text(str(path)).strip() for path in sorted(Path(folder).glob(pattern))]


def read_text(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


class Watch:
    """Counts what other processes compute while this one does."""

    def __init__(self) -> None:
        self.busy_s, self.own_s, self.start_s = busy_s(), time.process_time(), time.monotonic()

    def other_cores(self) -> Optional[float]:
        """Cores that others kept busy since the start; None where that cannot be read."""
        if self.busy_s is None:
            return None
        others = (busy_s() or 0.0) - self.busy_s - (time.process_time() - self.own_s)
        return max(0.0, others / (time.monotonic() - self.start_s))


def busy_s() -> Optional[float]:
    """The seconds that all cores were busy since boot: user, nice, system, interrupts, stolen."""
    first = read_text("/proc/stat").partition("\n")[0].split()
    if len(first) < 9:
        return None
    ticks = [int(first[i]) for i in (1, 2, 3, 6, 7, 8)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def status_kib(key: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = [line for line in read_text("/proc/self/status").splitlines() if line.startswith(key)]
    return int(lines[0].split()[1])
