"""The machine that the agent runs on: what it is, and how it is doing."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"
THROTTLED = "/sys/devices/platform"
CPU_ZONES = ("cpu", "soc", "pkg", "core", "bcm")
"""Words in the types of thermal zones that lie where the CPU does."""


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
    """What may change while a measurement runs; empty or None where it is not readable here."""
    governors = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_governor")
    bits = throttle_bits()
    return dict(
        quick_state(),
        governors=sorted(set(governors)),
        throttled=throttle_bits_by_program() if bits is None else bits,
    )


def quick_state() -> Dict[str, Any]:
    """The part of `state` that can be read without starting a program."""
    frequencies = read_all(CPU, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    return {
        "load_average": os.getloadavg()[0],
        "frequencies_khz": [int(text) for text in frequencies if text.isdigit()],
        "temperatures_c": temperatures_c(),
        "throttled": throttle_bits(),
    }


def temperatures_c() -> List[float]:
    """Of the CPU's thermal zones, or of all where none says that it is the CPU's."""
    types = read_all(THERMAL, "thermal_zone*/type")
    texts = read_all(THERMAL, "thermal_zone*/temp")
    near = [t for kind, t in zip(types, texts) if any(word in kind.lower() for word in CPU_ZONES)]
    return [int(t) / 1000 for t in near or texts if t.lstrip("-").isdigit()]


def throttle_bits() -> Optional[int]:
    """What a Raspberry Pi's kernel says of low voltage and throttling; None elsewhere.

    The bits are those of ``vcgencmd get_throttled``: 0 to 3 now, 16 to 19 at some time before.
    """
    for text in read_all(THROTTLED, "soc*/soc*:firmware/get_throttled"):
        return hexadecimal(text)
    return None


def throttle_bits_by_program() -> Optional[int]:
    """The same from the firmware's own program, where the kernel does not tell."""
    command = ["vcgencmd", "get_throttled"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return hexadecimal(done.stdout.decode("ascii", "replace").partition("=")[2])


def hexadecimal(text: str) -> Optional[int]:
    """A number such as ``0x50005`` or ``50005``; None for any other text."""
    try:
        return int(text.strip(), 16)
    except ValueError:
        return None


def read_all(folder: str, pattern: str) -> List[str]:
    """The texts of all files that match."""
    return [read_text(path).strip() for path in paths(folder, pattern)]


@functools.lru_cache(maxsize=None)
def paths(folder: str, pattern: str) -> List[str]:
    """The files that match, looked for once."""
    return [str(path) for path in sorted(Path(folder).glob(pattern))]


def read_text(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class Watch:
    """Looks at the machine from time to time, and counts what other processes compute."""

    def __init__(self) -> None:
        self.looks = []  # type: List[Dict[str, Any]]
        self.busy_s, self.own_s, self.start_s = busy_s(), time.process_time(), time.monotonic()

    def look(self) -> None:
        """Keep how the machine is doing now."""
        self.looks.append(
            dict(
                quick_state(),
                at_s=round(time.monotonic() - self.start_s, 3),
                other_cores=self.other_cores(),
            )
        )

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
