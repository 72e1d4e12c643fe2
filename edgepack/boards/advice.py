"""What of a board stands in the way of a measurement, and what to type about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgepack.boards.board import OLDEST_PYTHON, Board
from edgepack.boards.fitting import fits
from edgepack.measuring.validity import FIXED_GOVERNORS

HOT_C = 70.0
"""A Raspberry Pi lowers its frequency from 80 degrees C on, and a measurement adds to this."""

LOW_DISK_KIB = 256 << 10
"""A runtime with numpy, its wheels and a model take less than this."""

LOW_MEMORY_KIB = 96 << 10
"""Python, numpy, a runtime and a small model take less than this."""

BUSY_CORES = 0.5
INSTALL = {"alpine": "apk add", "fedora": "dnf install", "arch": "pacman -S"}
"""How a distribution installs a package; the others that boards come with use apt."""

PACKAGES = {"alpine": {"libstdc++6": "libstdc++"}, "fedora": {"libstdc++6": "libstdc++"}}
"""What another distribution calls a package of Debian."""


@dataclass(frozen=True)
class Advice:
    """One thing to do about a board.

    Attributes:
        code: the word for programs, such as ``no-python``.
        message: what is so, with its value.
        hint: what to type or to change.
    """

    code: str
    message: str
    hint: str


def advise(board: Board) -> tuple[Advice, ...]:
    """All advice on a board, what nothing works without first."""
    return tuple(advice for rule in RULES for advice in rule(board))


def python(board: Board) -> Iterator[Advice]:
    """No Python that the agent runs on."""
    if board.python:
        return
    install = installing(board, "python3")
    if not board.pythons:
        broken = [entry["path"] for entry in board.fact("python").get("broken", ())]
        found = f"; {broken[0]} does not run" if broken else ""
        yield Advice("no-python", f"there is no Python 3 on PATH{found}", install)
        return
    oldest = ".".join(map(str, OLDEST_PYTHON))
    best = max(board.pythons, key=lambda found: found.version)
    if best.version < OLDEST_PYTHON:
        said = f"{best.path} is Python {best.release}, the agent needs {oldest} or newer"
        yield Advice("python-too-old", said, "install a newer system, or a newer python3 on PATH")
    else:
        said = f"{best.path} lacks {', '.join(best.missing)} of the standard library"
        yield Advice("python-cut-down", said, install)


def libraries(board: Board) -> Iterator[Advice]:
    """What the wheels of every runtime are linked to."""
    libc = board.fact("libc").get("name", "glibc")
    if libc != "glibc":
        said = f"the C library is {libc}, and the runtimes' wheels are linked to glibc"
        yield Advice("no-glibc", said, "use a system with glibc, such as Raspberry Pi OS")
    elif board.libstdcxx is False:
        said = "libstdc++.so.6 cannot be loaded, and every runtime needs it"
        yield Advice("no-libstdcxx", said, installing(board, "libstdc++6"))


def target(board: Board) -> Iterator[Advice]:
    """An architecture that no target has."""
    if not fits(board):
        said = f"no target has the architecture {board.architecture or 'of this board'!r}"
        yield Advice("no-target", said, "type: edgepack targets")


def room(board: Board) -> Iterator[Advice]:
    """Where edgepack's folder lives, and the memory."""
    disk, free_kib = board.fact("disk"), board.free_kib
    mount = disk.get("mount", "")
    if free_kib is not None and free_kib < LOW_DISK_KIB:
        said = f"{free_kib >> 10} MiB are free on {mount}"
        yield Advice("low-disk", said, "make room, or name another folder in devices.toml")
    if disk.get("writable") is False:
        said = f"the folder for edgepack's files on {mount} cannot be written to"
        yield Advice("not-writable", said, "name another folder in devices.toml")
    if disk.get("executable") is False:
        said = f"{mount} is mounted noexec, so no runtime can be loaded from there"
        yield Advice("noexec", said, "name a folder on another file system in devices.toml")
    available_kib = board.fact("memory").get("available_kib")
    if available_kib is not None and available_kib < LOW_MEMORY_KIB:
        said = f"{available_kib >> 10} MiB of memory are available"
        yield Advice("low-memory", said, "end other programs")


def state(board: Board) -> Iterator[Advice]:
    """What moves the numbers of a measurement: governor, heat, power, other programs."""
    if loose := sorted(set(board.governors) - FIXED_GOVERNORS):
        yield Advice(
            "governor-not-fixed",
            f"the CPU governor is {', '.join(loose)}",
            "type on the device: echo performance | "
            "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    if board.temperature_c is not None and board.temperature_c >= HOT_C:
        said = f"the board is at {board.temperature_c:.1f} degrees C"
        yield Advice("hot", said, "let it cool down, or give it a heat sink or a fan")
    lease = board.fact("lease")
    if lease.get("owner"):
        yield Advice("in-use", f"{lease['owner']} measures on it", "wait until that has ended")
    elif board.load_average is not None and board.load_average > BUSY_CORES:
        said = f"other programs kept {board.load_average:.2f} cores busy in the last minute"
        yield Advice("busy", said, "end other programs")


def throttling(board: Board) -> Iterator[Advice]:
    """The bits of a Raspberry Pi's firmware: what is so now, else what was so since boot."""
    throttle = board.fact("throttle")
    hints = {
        "under-voltage": "use the power supply and the cable that were made for this board",
        "frequency-capped": "look for under-voltage or heat, then restart the board",
        "throttled": "look for under-voltage or heat, and give the board a heat sink or a fan",
        "soft-temperature-limit": "let it cool down, or give it a heat sink or a fan",
    }
    now = throttle.get("now", ())
    for name in now:
        yield Advice(name, f"the firmware reports {name} now", hints[name])
    for name in throttle.get("since_boot", ()):
        if name not in now:
            said = f"the firmware reported {name} since the board started"
            yield Advice(f"{name}-since-boot", said, hints[name])


def edgetpu(board: Board) -> Iterator[Advice]:
    """An Edge TPU that is attached and cannot be used."""
    found = board.fact("edgetpu")
    if not board.edgetpu:
        return
    if not found.get("libraries"):
        said = f"there is an Edge TPU on {board.edgetpu} but no libedgetpu.so.1"
        yield Advice("no-libedgetpu", said, "install libedgetpu1-std, as coral.ai/software says")
    nodes = found.get("nodes", ())
    if not nodes:
        said = "there is an Edge TPU on PCIe but no /dev/apex_0"
        yield Advice("no-edgetpu-driver", said, "install gasket-dkms, as coral.ai/software says")
    group = "apex" if board.edgetpu == "pcie" else "plugdev"
    for node in nodes:
        if not node["accessible"]:
            said = f"the user may not use the Edge TPU at {node['path']}"
            hint = f"type on the device: sudo usermod -aG {group} $USER; then log in again"
            yield Advice("edgetpu-not-permitted", said, hint)


def installing(board: Board, package: str) -> str:
    """What to type on a board to install a package, by its Debian name."""
    command = INSTALL.get(board.distribution, "apt install")
    name = PACKAGES.get(board.distribution, {}).get(package, package)
    return f"type on the device: sudo {command} {name}"


RULES: tuple[Callable[[Board], Iterator[Advice]], ...] = (
    python,
    libraries,
    target,
    room,
    edgetpu,
    throttling,
    state,
)
"""In the order in which their advice is shown."""
