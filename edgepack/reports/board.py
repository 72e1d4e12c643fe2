"""What ``edgepack devices NAME`` prints: the facts of a board as a table, then what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepack import table
from edgepack.boards.advice import Advice
from edgepack.boards.board import Board, Python

FLAGS = ("neon", "asimd", "asimddp", "i8mm", "sve", "fphp", "avx2", "avx512f", "avx512_vnni")
"""Instructions that a runtime's kernels are chosen by; JSON has all."""


def render(
    title: str, board: Board, rows: Sequence[tuple[str, str]], advice: Sequence[Advice]
) -> str:
    """The facts, further rows, and the advice.

    Args:
        title: the device, in words.
        board: what was found.
        rows: what else is to be said, by its name.
        advice: what to do.
    """
    facts = [(name, words) for name, words in (*_facts(board), *rows) if words]
    notes = [f"{a.code}: {a.message}\n  -> {a.hint}" for a in advice]
    return "\n\n".join([title, table.render(facts), *(["\n".join(notes)] if notes else [])])


def _facts(board: Board) -> list[tuple[str, str]]:
    pythons = [("Python" if i == 0 else "", _python(p)) for i, p in enumerate(board.pythons)]
    return [
        ("model", board.model),
        ("system", _system(board)),
        ("C library", " ".join(board.fact("libc").get(k, "") for k in ("name", "version")).strip()),
        *(pythons or [("Python", "none")]),
        ("CPU", _cpu(board)),
        ("memory", _memory(board.fact("memory"))),
        ("disk", _disk(board)),
        ("frequency", _frequency(board.fact("frequency").get("policies", ()))),
        ("temperature", _temperature(board)),
        ("throttled", _throttled(board.fact("throttle"))),
        ("load", "" if board.load_average is None else f"{board.load_average:.2f}"),
        ("up for", _duration(board.fact("clock").get("uptime_s"))),
        ("Edge TPU", _edgetpu(board)),
        ("in use", _lease(board.fact("lease"))),
    ]


def _system(board: Board) -> str:
    system = board.fact("system")
    kernel = f"Linux {board.kernel} {board.machine}".strip() if board.kernel else ""
    return ", ".join(filter(None, [system.get("pretty_name", board.distribution), kernel]))


def _python(python: Python) -> str:
    packages = [f"{name} {release}".strip() for name, release in python.packages.items()]
    lacks = f"lacks {', '.join(python.missing)}" if python.missing else ""
    library = "" if python.libstdcxx is not False else "no libstdc++"
    words = [f"{python.release} {python.architecture}", *packages, lacks, library]
    return f"{python.path}: {', '.join(filter(None, words))}"


def _cpu(board: Board) -> str:
    cores = f"{board.cores} x {board.cpu}" if board.cores and board.cpu else board.cpu
    return ", ".join(filter(None, [cores, " ".join(f for f in FLAGS if f in board.cpu_flags)]))


def _memory(memory: Mapping[str, Any]) -> str:
    if "ram_kib" not in memory:
        return ""
    swap = f", {_mib(memory['swap_kib'])} of swap" if memory.get("swap_kib") else ""
    available = _mib(memory.get("available_kib", 0))
    return f"{_mib(memory['ram_kib'])}, {available} available{swap}"


def _disk(board: Board) -> str:
    if board.free_kib is None:
        return ""
    return f"{_mib(board.free_kib)} free on {board.fact('disk')['mount']}"


def _mib(kib: int) -> str:
    return f"{kib / (1 << 20):.1f} GiB" if kib >= 10 << 20 else f"{kib >> 10} MiB"


def _frequency(policies: Sequence[Mapping[str, Any]]) -> str:
    seen = []
    for policy in policies:
        current, highest = policy.get("current_khz"), policy.get("maximum_khz")
        now = f"{current / 1000:.0f}" if current else "?"
        most = f" of {highest / 1000:.0f}" if highest else ""
        seen.append(f"{policy.get('governor', 'unknown')}, {now}{most} MHz")
    return "; ".join(dict.fromkeys(seen))


def _temperature(board: Board) -> str:
    zones = board.fact("temperature").get("zones", ())
    hottest = max(zones, key=lambda zone: zone["temperature_c"], default=None)
    if not hottest:
        return ""
    return f"{hottest['temperature_c']:.1f} degrees C ({hottest['name']})"


def _throttled(throttle: Mapping[str, Any]) -> str:
    if not throttle:
        return ""
    now = ", ".join(throttle["now"]) or "no"
    before = ", ".join(throttle["since_boot"])
    return f"{now}; since boot: {before}" if before else now


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, rest = divmod(int(seconds), 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _edgetpu(board: Board) -> str:
    found = board.fact("edgetpu")
    if not board.edgetpu:
        return ""
    nodes = [f"{n['path']}{'' if n['accessible'] else ' (no access)'}" for n in found["nodes"]]
    library = next(iter(found["libraries"]), "no libedgetpu")
    return ", ".join([board.edgetpu, *nodes, library])


def _lease(lease: Mapping[str, Any]) -> str:
    return f"by {lease['owner']} for {_duration(lease['held_s'])}" if lease.get("owner") else ""
