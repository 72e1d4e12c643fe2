"""The time and memory of one command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

PROGRAM = """
import json, os, re, sys
from edgepack.__main__ import run
code = run(sys.argv[1:])
status = open("/proc/self/status", encoding="utf-8").read()
times = os.times()
print(json.dumps([code, times.user + times.system, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])]))
"""


@dataclass(frozen=True)
class Used:
    """What a process used.

    Attributes:
        code: its exit code.
        processor_s: seconds of processor time.
        peak_mib: the most memory that was resident at once.
    """

    code: int
    processor_s: float
    peak_mib: float


def measure(*words: str) -> Used:
    """Run ``edgepack`` with these words.

    The kernel's own peak is read, as what ``getrusage`` tells of a child begins with its parent's.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    code, seconds, peak_kib = json.loads(done.stdout.splitlines()[-1])
    return Used(code, seconds, peak_kib / 1024)
