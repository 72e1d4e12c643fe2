"""A board as it was found: what every fact about it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OLDEST_PYTHON = (3, 7)
"""The agent runs on this version and newer ones."""

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
"""Distributions that carry a runtime, the preferred one first."""


@dataclass(frozen=True)
class Python:
    """An interpreter on a board.

    Attributes:
        path: what starts it.
        version: such as (3, 11).
        architecture: of its processes as pip's tags name it: aarch64, armv7l, x86_64, ...; it may
            differ from the kernel's.
        packages: versions of numpy and of the runtimes that it can import, by distribution name;
            an empty text where the version cannot be told.
        release: the version in full, such as ``3.11.2``.
        implementation: ``cpython``, ``pypy``, ...
        glibc: of the C library that it is linked to; None where that is another one (musl).
        libstdcxx: whether it can load ``libstdc++.so.6``; None where it cannot tell.
        missing: modules of the standard library that the agent needs and a cut down Python
            (``python3-minimal``) lacks.
    """

    path: str
    version: tuple[int, int]
    architecture: str
    packages: Mapping[str, str] = field(default_factory=dict)
    release: str = ""
    implementation: str = "cpython"
    glibc: tuple[int, int] | None = None
    libstdcxx: bool | None = None
    missing: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the agent runs on it, given a runtime."""
        return self.version >= OLDEST_PYTHON and not self.missing


@dataclass(frozen=True)
class Board:
    """What one look at a device found.

    Attributes:
        facts: what each fact of ``edgepack.facts`` found, by its name, as plain JSON data; empty
            where the device does not tell.
        gaps: why a fact is empty, by its name.
    """

    facts: Mapping[str, Mapping[str, Any]]
    gaps: Mapping[str, str] = field(default_factory=dict)

    def fact(self, name: str) -> Mapping[str, Any]:
        """One fact; empty where the device does not tell."""
        return self.facts.get(name, {})

    @property
    def model(self) -> str:
        """What the board calls itself, such as ``Raspberry Pi 4 Model B Rev 1.4``; or empty."""
        return str(self.fact("model").get("name", ""))

    @property
    def kernel(self) -> str:
        """The kernel's release, such as ``6.12.47+rpt-rpi-v8``."""
        return str(self.fact("system").get("kernel", ""))

    @property
    def machine(self) -> str:
        """The kernel's machine; the user land may be another: see `architecture`."""
        return str(self.fact("system").get("machine", ""))

    @property
    def distribution(self) -> str:
        """The distribution's id, such as ``debian``, ``raspbian`` or ``mendel``."""
        return str(self.fact("system").get("distribution", ""))

    @property
    def distribution_version(self) -> str:
        """Such as ``12``; empty for a rolling one."""
        return str(self.fact("system").get("distribution_version", ""))

    @property
    def codename(self) -> str:
        """The name of the distribution's release, such as ``bookworm``."""
        return str(self.fact("system").get("codename", ""))

    @property
    def pythons(self) -> tuple[Python, ...]:
        """Every Python 3, each once: the transport's own first, then in the order of PATH."""
        return tuple(_python(entry) for entry in self.fact("python").get("interpreters", ()))

    @property
    def python(self) -> Python | None:
        """The one to use: with a runtime, else with numpy, else the first that the agent takes."""
        usable = [python for python in self.pythons if python.usable]
        return max(usable, key=_readiness, default=None)

    @property
    def architecture(self) -> str:
        """Of the best Python, else of any Python, else of the user land; empty if unknown.

        In the words of pip's tags: aarch64, armv7l, x86_64, ...
        """
        known = [python.architecture for python in (self.python, *self.pythons) if python]
        return next(iter(known), str(self.fact("system").get("architecture", "")))

    @property
    def glibc(self) -> tuple[int, int] | None:
        """The version of glibc; None where there is another C library."""
        if self.python:
            return self.python.glibc
        libc = self.fact("libc")
        return _pair(libc.get("version", "")) if libc.get("name") == "glibc" else None

    @property
    def libstdcxx(self) -> bool | None:
        """Whether the best Python can load ``libstdc++.so.6``; None where that is not known."""
        return self.python.libstdcxx if self.python else None

    @property
    def cpu(self) -> str:
        """The core's name, such as ``Cortex-A72``; empty where it is unknown."""
        return str(self.fact("cpu").get("name", ""))

    @property
    def cpu_flags(self) -> frozenset[str]:
        """What /proc/cpuinfo calls Features or flags."""
        return frozenset(self.fact("cpu").get("flags", ()))

    @property
    def cores(self) -> int:
        """How many processors the kernel has online; 0 where it is unknown."""
        return int(self.fact("cpu").get("cores", 0))

    @property
    def ram_kib(self) -> int:
        """Memory that the kernel manages, in KiB; 0 where it is unknown."""
        return int(self.fact("memory").get("ram_kib", 0))

    @property
    def free_kib(self) -> int | None:
        """Space left where edgepack's folder lives, in KiB; None where it is unknown."""
        free: int | None = self.fact("disk").get("free_kib")
        return free

    @property
    def governors(self) -> tuple[str, ...]:
        """The governors of the CPUs, each once, sorted; empty where they cannot be read."""
        policies = self.fact("frequency").get("policies", ())
        return tuple(sorted({p["governor"] for p in policies if p.get("governor")}))

    @property
    def temperature_c(self) -> float | None:
        """Of the hottest thermal zone, in degrees C; None where there is none."""
        zones = self.fact("temperature").get("zones", ())
        return max((zone["temperature_c"] for zone in zones), default=None)

    @property
    def throttled(self) -> int | None:
        """The bits of the firmware (0 under-voltage, ...); None where there are none."""
        bits: int | None = self.fact("throttle").get("bits")
        return bits

    @property
    def load_average(self) -> float | None:
        """Of the last minute; None where it is unknown."""
        load: float | None = self.fact("load").get("load_1min")
        return load

    @property
    def edgetpu(self) -> str:
        """How an Edge TPU is attached: ``usb``, ``pcie`` or empty."""
        return str(self.fact("edgetpu").get("attached", ""))


def _python(entry: Mapping[str, Any]) -> Python:
    return Python(
        path=entry["path"],
        version=_pair(entry["version"]) or (0, 0),
        architecture=entry["architecture"],
        packages=dict(entry.get("packages", {})),
        release=entry["version"],
        implementation=entry.get("implementation", ""),
        glibc=_pair(entry.get("glibc", "")),
        libstdcxx=entry.get("libstdcxx"),
        missing=tuple(entry.get("missing", ())),
    )


def _readiness(python: Python) -> tuple[bool, bool]:
    return any(name in python.packages for name in RUNTIMES), "numpy" in python.packages


def _pair(version: str) -> tuple[int, int] | None:
    parts = version.split(".")[:2]
    numbers = [int(part) for part in parts if part.isdecimal()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None
