"""The options of ``edgepack bench``, which are many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepack.runtime import DELEGATES

LONGEST_S = 7 * 24 * 3600


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above zero with commas between them."""

    name = "N[,N...]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The numbers, each once, in their order."""
        words = value if isinstance(value, tuple) else str(value).split(",")
        if not all(str(word).strip().isdecimal() and int(word) > 0 for word in words):
            self.fail(
                f"{value!r} is no list of whole numbers above zero, such as 1,2,4", param, ctx
            )
        return tuple(dict.fromkeys(int(word) for word in words))


class Seconds(click.FloatRange):
    """A time in seconds that comes to an end."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The time; above `LONGEST_S` no clock takes it."""
        found = float(super().convert(value, param, ctx))
        if not found <= LONGEST_S:
            self.fail(f"{value!r} is no time of at most {LONGEST_S} s", param, ctx)
        return found


OPTIONS = [
    click.option(
        "--device",
        "names",
        multiple=True,
        default=("local",),
        show_default=True,
        help="Where to measure: user@host[:port], a name of devices.toml or of the SSH config,"
        " local, or all of devices.toml; several run side by side.",
    ),
    click.option(
        "--threads", type=Numbers(), default="1", show_default=True, help="Of the runtime."
    ),
    click.option(
        "--delegate",
        "delegates",
        multiple=True,
        type=click.Choice(DELEGATES),
        default=DELEGATES[:1],
        show_default=True,
        help="What runs the operators; several are measured in turns.",
    ),
    click.option(
        "--runs",
        default=50,
        show_default=True,
        type=click.IntRange(1),
        help="Fewest timed runs in each process.",
    ),
    click.option(
        "--seconds",
        default=1.0,
        show_default=True,
        type=Seconds(0),
        help="Shortest time of timed runs in each process.",
    ),
    click.option(
        "--processes",
        default=3,
        show_default=True,
        type=click.IntRange(1),
        help="Processes to time, one after the other.",
    ),
    click.option("--operators", is_flag=True, help="Time single operators too."),
    click.option(
        "--evaluate",
        default=0,
        type=click.IntRange(0),
        help="Run so many test samples on the device for the metric itself.",
    ),
    click.option("--data", default="", help="Where they come from; else the bundle's own data."),
    click.option(
        "--timeout",
        "timeout_s",
        default=600.0,
        show_default=True,
        type=Seconds(0, min_open=True),
        help="Seconds after which a process is killed.",
    ),
    click.option(
        "--wait",
        "wait_s",
        default=600.0,
        show_default=True,
        type=Seconds(0),
        help="Seconds to wait for somebody else who measures on the device.",
    ),
    click.option(
        "--cool-below",
        "cool_c",
        default=0.0,
        type=click.FloatRange(0, max=200),
        help="Begin only below so many degrees Celsius; else 10 below where the device throttles.",
    ),
    click.option(
        "--cool-wait",
        "cool_wait_s",
        default=300.0,
        show_default=True,
        type=Seconds(0),
        help="Seconds to wait for that.",
    ),
    click.option(
        "--runtime-version",
        default="",
        help="PACKAGE or PACKAGE==VERSION to bring along, or installed for what the device has.",
    ),
    click.option(
        "--wheelhouse",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="A folder of wheels to bring a runtime from, instead of the package index.",
    ),
    click.option(
        "--accept-new-host-key", is_flag=True, help="Take an unknown host key down as known."
    ),
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object with every raw value."
    ),
    click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the JSON to a file, too.",
    ),
    click.option("--no-history", is_flag=True, help="Keep nothing for edgepack history."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
]


def with_options(function: Any) -> Any:
    """The function with every option, in the order of `OPTIONS`."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
