"""What eight devices cost in time beside one, when each of them is busy for a fixed 5 s.

The devices are ports of an SSH server on this machine, each with a folder of its own; the agent
sleeps where it would measure, so that they do not share the processor for what is timed.

``EDGEPACK_MODELS=FOLDER python benchmarks/devices.py [--count 8] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from functools import partial

from boards import doors
from report import Limit, sample_model, save

from edgepack.device import Device, find_device
from edgepack.measuring.fleet import failure, side_by_side
from edgepack.measuring.session import measure
from edgepack.measuring.settings import Manners, Settings
from edgepack.measuring.subject import Subject, read_subject
from edgepack.runtime import Job
from edgepack.runtimes import litert
from edgepack.transport import connect

MODEL = "resnet8_int8.tflite"
SLEEP_S = 5
LIMIT = 2.5
SWEEP = (Settings(runs=1, seconds=0.0, processes=1, warmup_s=0.0),)

measuring = litert.command


def sleeping(python: Sequence[str], agent: str, job: Job) -> list[str]:
    """The agent's command, which sleeps first where it measures latency."""
    command = measuring(python, agent, job)
    pause = ["sh", "-c", f'sleep {SLEEP_S}; exec "$@"', "sh"] if job.kind == "latency" else []
    return [*pause, *command]


def work(device: Device, subject: Subject) -> None:
    """One device from connecting to its result."""
    measure(connect(device), device, [subject], SWEEP, Manners(wait_s=60.0), {})


def wall_s(devices: Sequence[Device], subject: Subject) -> float:
    """The time of all devices side by side, in s."""
    begin = time.monotonic()
    error = failure(side_by_side(devices, partial(work, subject=subject)))
    if error:
        raise error
    return time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    subject = read_subject(sample_model(MODEL))
    setattr(litert, "command", sleeping)  # noqa: B010 - a module's function, for this run only
    with doors(options.count) as (names, environment):
        os.environ.update(environment)
        devices = [find_device(name) for name in names]
        wall_s(devices, subject)  # brings the runtime along
        pairs = [
            (wall_s(devices[:1], subject), wall_s(devices, subject)) for _ in range(options.rounds)
        ]
    ratio = statistics.median(many / one for one, many in pairs)
    rows = [[f"{one:.1f}", f"{many:.1f}", f"{many / one:.2f}"] for one, many in pairs]
    facts = {"devices": options.count, "sleep_s": SLEEP_S, "pairs_s": pairs, "ratio": ratio}
    limits = [Limit(f"{options.count} devices take so many times as long", ratio, LIMIT)]
    save("devices", facts, ("one device, s", f"{options.count} devices, s", "ratio"), rows, limits)


if __name__ == "__main__":
    main()
