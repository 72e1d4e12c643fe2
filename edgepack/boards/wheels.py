"""Which wheels a board's Python is given: a pinned table, and the choice from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgepack.boards.advice import advise
from edgepack.boards.board import Board, Python
from edgepack.errors import DeviceError, InputError

LAYOUT = 1
"""Of an installation on a board; another number makes other keys."""

HOPELESS = ("no-python", "python-too-old", "python-cut-down", "no-glibc", "no-libstdcxx")
"""The codes of advice that has to be followed first."""

NUMPY_OF_DEBIAN = "python3-numpy"
INSTALLED = "installed"
TOO_NEW_FOR_EDGETPU = (2, 12)
"""The first TFLite that crashes with libedgetpu 16.0 (google-coral/edgetpu issue 812)."""
OWN = f"or install a runtime there yourself and add --runtime-version {INSTALLED}"


@dataclass(frozen=True)
class Wheel:
    """A file that is known by its hash; its name says what it is made for.

    Attributes:
        name: of the file, such as ``numpy-2.3.5-cp313-cp313-manylinux_2_27_aarch64.whl``.
        sha256: of it.
    """

    name: str
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip knows it by, such as ``numpy==2.3.5``."""
        package, version, *_ = self.name.split("-")
        return f"{package.replace('_', '-')}=={version}"

    @property
    def version(self) -> str:
        """Of the package."""
        return self.name.split("-")[1]

    @property
    def python(self) -> tuple[int, int]:
        """The version of CPython that it is made for."""
        digits = self.name.split("-")[2].removeprefix("cp")
        return int(digits[0]), int(digits[1:])

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of its name, such as ``manylinux_2_27_aarch64``."""
        return tuple(self.name.removesuffix(".whl").split("-")[4].split("."))

    @property
    def machine(self) -> str:
        """The architecture as pip's tags name it."""
        return re.sub(r"^(manylinux_\d+_\d+|manylinux\d+)_", "", self.platforms[0])


@dataclass(frozen=True)
class Release:
    """A runtime that boards are given.

    Attributes:
        package: its distribution.
        version: of it.
        numpy_from: the oldest version of numpy that it works with.
        numpy_below: the first one that is too new.
        glibc: the oldest version that its libraries load with, by machine.
    """

    package: str
    version: str
    numpy_from: str
    numpy_below: str
    glibc: Mapping[str, str]

    def __str__(self) -> str:
        """Package and version in words."""
        return f"{self.package} {self.version}"

    def takes(self, numpy: str) -> bool:
        """Whether it works with a version of numpy."""
        return numbers(self.numpy_from) <= numbers(numpy) < numbers(self.numpy_below)


@dataclass(frozen=True)
class Candidate:
    """A release for one Python of a board, with all that has to be brought along.

    Attributes:
        release: the runtime.
        python: the interpreter that it is for.
        wheels: the runtime's, and numpy's where the board has none that fits.
        debian: packages of the board's distribution, where there are no wheels.
    """

    release: Release
    python: Python
    wheels: tuple[Wheel, ...]
    debian: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of its installation on a board: other content, another name."""
        python = (self.python.path, *self.python.version)
        parts = (LAYOUT, python, [wheel.sha256 for wheel in self.wheels], self.debian)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return f"{self.release.package}-{self.release.version}-{digest[:16]}"


@dataclass(frozen=True)
class Table:
    """What is pinned.

    Attributes:
        releases: the runtimes, the preferred one first.
        wheels: of the runtimes and of numpy.
        unused: patterns of files in wheels that are not unpacked.
    """

    releases: tuple[Release, ...]
    wheels: tuple[Wheel, ...]
    unused: tuple[str, ...]


@cache
def table() -> Table:
    """The table that comes with edgepack."""
    import tomllib

    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    releases = tuple(Release(**entry) for entry in data["releases"])
    wheels = tuple(Wheel(name, sha256) for name, sha256 in data["files"].items())
    return Table(releases, wheels, tuple(data["unused"]))


def choose(board: Board, wanted: str = "", *, edgetpu: bool = False) -> tuple[Candidate, ...]:
    """What can be brought to a board, the best one first; at least one.

    Args:
        board: as it was found.
        wanted: ``PACKAGE`` or ``PACKAGE==VERSION``; empty for any.
        edgetpu: whether libedgetpu must bear it; who names a version or a package that has no
            such release gets what was named.

    Raises:
        InputError: if there is no such release.
        DeviceError: if there is none for the board; it says why.
    """
    releases = select(wanted)
    if edgetpu and "==" not in wanted:
        releases = tuple(r for r in releases if bears_edgetpu(r.package, r.version)) or releases
    for advice in advise(board):
        if advice.code in HOPELESS:
            raise DeviceError(f"the device takes no runtime: {advice.message}", advice.hint)
    fits = [_fit(release, board.pythons) for release in releases]
    found = tuple(candidate for candidate in fits if candidate)
    if not found:
        raise _refusal(releases, board.python or board.pythons[0])
    return found


def select(wanted: str) -> tuple[Release, ...]:
    """The releases that a word of the user names.

    Raises:
        InputError: if it names none.
    """
    package, _, version = wanted.replace("_", "-").partition("==")
    found = tuple(
        release
        for release in table().releases
        if package in ("", release.package) and version in ("", release.version)
    )
    if not found:
        raise InputError(
            f"there is no runtime {wanted!r} to bring along",
            f"known are: {releases_in_words()}, {INSTALLED}",
        )
    return found


def bears_edgetpu(package: str, version: str) -> bool:
    """Whether a runtime works with Coral's libedgetpu; ai-edge-litert began after that ended."""
    return package == "tflite-runtime" and numbers(version) < TOO_NEW_FOR_EDGETPU


def releases_in_words() -> str:
    """All releases, as a user may name them."""
    return ", ".join(f"{release.package}=={release.version}" for release in table().releases)


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``1.24.2+dfsg`` is (1, 24, 2)."""
    begin = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, begin[0].split("."))) if begin else ()


def _fit(release: Release, pythons: Iterable[Python]) -> Candidate | None:
    """The Python of a board that needs the least for a release."""
    found = [candidate for python in pythons if (candidate := _candidate(release, python))]
    return min(found, key=lambda c: (len(c.debian), len(c.wheels)), default=None)


def _candidate(release: Release, python: Python) -> Candidate | None:
    wheels = [wheel for wheel in table().wheels if _made_for(wheel, python)]
    wanted = f"{release.package}=={release.version}"
    runtime = [wheel for wheel in wheels if wheel.requirement == wanted]
    loads = python.glibc and python.glibc >= numbers(release.glibc.get(python.architecture, "99"))
    if not (runtime and loads and python.usable and python.implementation == "cpython"):
        return None
    present = python.packages.get("numpy")
    if present is not None and (not present or release.takes(present)):
        return Candidate(release, python, (runtime[0],))
    for wheel in wheels:
        if wheel.requirement.startswith("numpy==") and release.takes(wheel.version):
            return Candidate(release, python, (runtime[0], wheel))
    # Debian's numpy is made for Debian's own Python.
    if present is None and python.path.startswith("/usr/bin/"):
        return Candidate(release, python, (runtime[0],), (NUMPY_OF_DEBIAN,))
    return None


def _made_for(wheel: Wheel, python: Python) -> bool:
    return wheel.python == python.version and wheel.machine == python.architecture


def _refusal(releases: Sequence[Release], python: Python) -> DeviceError:
    """Why there is nothing for the best Python of a board."""
    words = " or ".join(dict.fromkeys(str(release) for release in releases))
    machine, version = python.architecture, "{}.{}".format(*python.version)
    what = f"no wheel of {words} fits the device"
    if python.implementation != "cpython":
        return DeviceError(
            f"{what}: {python.path} is {python.implementation}", f"put CPython on its PATH, {OWN}"
        )
    wanted = {f"{release.package}=={release.version}" for release in releases}
    wheels = [w for w in table().wheels if w.requirement in wanted and w.machine == machine]
    if not wheels:
        return DeviceError(
            f"{what}: there is none for {machine}", f"use a 64-bit system on it, {OWN}"
        )
    versions = sorted({wheel.python for wheel in wheels})
    if python.version not in versions:
        known = ", ".join("{}.{}".format(*pair) for pair in versions)
        return DeviceError(
            f"{what}: its Python is {version}, and for {machine} there are wheels for {known}",
            f"put one of these on its PATH, {OWN}",
        )
    oldest = min(
        numbers(release.glibc[machine]) for release in releases if machine in release.glibc
    )
    if python.glibc and python.glibc < oldest:
        return DeviceError(
            f"{what}: they need glibc {'.'.join(map(str, oldest))}, and it has "
            f"{'.'.join(map(str, python.glibc))}",
            "upgrade the device's system",
        )
    numpy = python.packages.get("numpy") or "none"
    return DeviceError(
        f"{what}: {python.path} on {machine} has numpy {numpy}, and there is no other to bring",
        f"type on the device: sudo apt-get install {NUMPY_OF_DEBIAN}",
    )
