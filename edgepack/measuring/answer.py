"""Reads what the agent on a device answers: JSON that may hold anything."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgepack.errors import DeviceError, InputError
from edgepack.measuring.reading import LARGEST_NUMBER, Node

T = TypeVar("T")
Check = Callable[[Node], Any]
HINT = "measure again; if it comes back, type: edgepack devices NAME --clean"


def read_answer(stdout: str, take: Callable[[Node], T]) -> T:
    """What is taken out of the last line that the agent wrote.

    Raises:
        DeviceError: if that is no JSON, or something in it is not what it ought to be.
    """
    try:
        return take(Node(json.loads(stdout.strip().rsplit("\n", 1)[-1])))
    except InputError as error:
        reason = error.message.removeprefix("no measurement: ")
        raise DeviceError(f"the agent's answer cannot be read: {reason}", HINT) from error
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"the agent's answer cannot be read: {stdout[-200:]!r}", HINT) from error


def read_condition(node: Node) -> Mapping[str, Any]:
    """The conditions of one process; what is not known of is left as it is.

    Raises:
        InputError: if anything is not what it ought to be.
    """
    return _checked(node, CONDITION)


def read_state(node: Node) -> Mapping[str, Any]:
    """How the machine was doing at one time.

    Raises:
        InputError: as `read_condition` does.
    """
    return _checked(node, STATE)


def read_environment(node: Node) -> Mapping[str, Any]:
    """What a process says of where it ran: texts and numbers by name.

    Raises:
        InputError: as `read_condition` does.
    """
    found = node.plain()
    for name, value in found.items():
        if not isinstance(value, str | int | float | None):
            node.field(name).refuse("a text or a number")
    return found


def _checked(node: Node, checks: Mapping[str, Check]) -> Mapping[str, Any]:
    found = node.plain()
    for name in found.keys() & checks.keys():
        checks[name](node.field(name))
    return found


def _number(node: Node) -> None:
    """A finite number, which a temperature may be below 0, too."""
    value = node.value
    if type(value) not in (int, float) or not math.fabs(value) < LARGEST_NUMBER:
        node.refuse("a finite number")


def _flag(node: Node) -> None:
    if type(node.value) is not bool:
        node.refuse("true or false")


def _whole(node: Node) -> None:
    node.whole(0)


def _or_null(check: Check) -> Check:
    return lambda node: None if node.value is None else check(node)


def _all(check: Check) -> Check:
    return lambda node: [check(element) for element in node.elements(empty=True)]


STATE: Mapping[str, Check] = {
    "load_average": _number,
    "governors": _all(Node.text),
    "frequencies_khz": _all(_whole),
    "temperatures_c": _all(_number),
    "throttled": _or_null(_whole),
    "at_s": _number,
    "other_cores": _or_null(_number),
}
CONDITION: Mapping[str, Check] = {
    "start": read_state,
    "before": read_state,
    "during": _all(read_state),
    "after": read_state,
    "model_sha256": _all(Node.text),
    "other_cores": _or_null(_number),
    "warmup_settled": _flag,
    "runs_per_value": _whole,
    "clock_ticks_per_value": _number,
    "overhead_ms": _number,
}
