"""Which runtime a board is given: the pinned table, and the choice from it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgepack.boards import wheels
from edgepack.boards.board import Board
from edgepack.errors import DeviceError, InputError

PI = {
    "path": "/usr/bin/python3",
    "version": "3.11.2",
    "architecture": "aarch64",
    "implementation": "cpython",
    "glibc": "2.36",
    "libstdcxx": True,
    "missing": [],
    "packages": {},
}
"""The Python of Raspberry Pi OS 12, 64 bit, without numpy."""


def board(*pythons: dict[str, Any], libc: str = "glibc") -> Board:
    """A board with some interpreters, each told by what is different from `PI`."""
    return Board(
        {"python": {"interpreters": [{**PI, **p} for p in pythons]}, "libc": {"name": libc}}
    )


def first(*pythons: dict[str, Any], wanted: str = "") -> list[str]:
    """The best candidate in words: the release, then what is brought along."""
    best = wheels.choose(board(*pythons), wanted)[0]
    brought = [wheel.requirement for wheel in best.wheels]
    assert brought[0] == f"{best.release.package}=={best.release.version}"
    for wheel in best.wheels:
        assert wheel.python == best.python.version and wheel.machine == best.python.architecture
    return [*brought, *best.debian]


LITERT, TFLITE = "ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"
PYTHON_7 = {"version": "3.7.3", "glibc": "2.28"}
PYTHON_8 = {"version": "3.8.10", "glibc": "2.31"}
PYTHON_9 = {"version": "3.9.2", "glibc": "2.31"}
PYTHON_12 = {"version": "3.12.3", "glibc": "2.39"}
PYTHON_13 = {"version": "3.13.5", "glibc": "2.41"}
PYTHON_14 = {"version": "3.14.0", "glibc": "2.42"}
NUMPY_24 = {"packages": {"numpy": "1.24.2"}}
NUMPY_19 = {"packages": {"numpy": "1.19.5"}}
NUMPY_2 = {"packages": {"numpy": "2.2.4"}}
BITS_32 = {"architecture": "armv7l"}
PC = {"architecture": "x86_64"}


@pytest.mark.parametrize(
    ("python", "brought"),
    [
        ({}, [LITERT, "numpy==1.26.4"]),
        (NUMPY_24, [LITERT]),
        ({"packages": {"numpy": ""}}, [LITERT]),
        (NUMPY_19, [LITERT, "numpy==1.26.4"]),
        (PC, [LITERT, "numpy==1.26.4"]),
        (PYTHON_7, ["tflite-runtime==2.11.0", "numpy==1.21.6"]),
        (PYTHON_8, [TFLITE, "numpy==1.24.4"]),
        (PYTHON_9, ["ai-edge-litert==2.1.0", "numpy==1.26.4"]),
        ({"glibc": "2.31"}, ["ai-edge-litert==2.1.0", "numpy==1.26.4"]),
        (PYTHON_12, [LITERT, "numpy==1.26.4"]),
        (PYTHON_13, [LITERT, "numpy==2.3.5"]),
        (PYTHON_13 | NUMPY_2, [LITERT]),
        (PYTHON_14, [LITERT, "numpy==2.3.5"]),
        (BITS_32, [TFLITE, "python3-numpy"]),
        (BITS_32 | NUMPY_24, [TFLITE]),
        (BITS_32 | PYTHON_9 | NUMPY_19, ["tflite-runtime==2.11.0"]),
        (BITS_32 | PYTHON_7, ["tflite-runtime==2.11.0", "python3-numpy"]),
    ],
)
def test_what_a_board_is_given(python: dict[str, Any], brought: list[str]) -> None:
    assert first(python) == brought


@pytest.mark.parametrize(
    ("wanted", "brought"),
    [
        ("ai-edge-litert", [LITERT, "numpy==1.26.4"]),
        ("ai_edge_litert==2.1.0", ["ai-edge-litert==2.1.0", "numpy==1.26.4"]),
        ("tflite-runtime", [TFLITE, "numpy==1.26.4"]),
    ],
)
def test_a_user_may_pin_another_runtime(wanted: str, brought: list[str]) -> None:
    assert first({}, wanted=wanted) == brought
    assert len({c.release.package for c in wheels.choose(board({}), wanted)}) == 1


def test_runtime_built_against_numpy_1_gets_one() -> None:
    assert first(NUMPY_2, wanted="tflite-runtime") == [TFLITE, "numpy==1.26.4"]


def test_the_python_that_needs_the_least_is_taken() -> None:
    old, new, ready = PYTHON_9, PYTHON_12, {"path": "/opt/python", **NUMPY_24}
    assert wheels.choose(board(old, new))[0].python.version == (3, 12)
    assert wheels.choose(board(new, ready))[0].python.path == "/opt/python"
    own = {"path": "/usr/local/bin/python3", **BITS_32}
    assert wheels.choose(board(own, BITS_32))[0].python.path == "/usr/bin/python3"


def test_what_to_try_next_is_known() -> None:
    releases = [str(candidate.release) for candidate in wheels.choose(board({}))]
    assert releases == ["ai-edge-litert 2.3.0", "ai-edge-litert 2.1.0", "tflite-runtime 2.14.0"]


@pytest.mark.parametrize(
    ("pythons", "said", "hint"),
    [
        ([], "no Python 3", "python3"),
        ([{"version": "3.5.3"}], "3.5.3", "newer"),
        ([{"missing": ["ctypes", "json"]}], "lacks ctypes, json", "install python3"),
        ([{"libstdcxx": False}], "libstdc++.so.6", "libstdc++6"),
        ([{"architecture": "armv6l"}], "none for armv6l", "64-bit system"),
        ([BITS_32 | PYTHON_13], "Python is 3.13, and for armv7l", "on its PATH"),
        ([{"version": "3.15.0"}], "3.10, 3.11", "on its PATH"),
        ([{"glibc": "2.24"}], "need glibc 2.27, and it has 2.24", "upgrade"),
        ([BITS_32 | {"packages": {"numpy": "2.2.4"}}], "has numpy 2.2.4", "apt-get install"),
    ],
)
def test_a_board_that_takes_none_is_told_why(
    pythons: list[dict[str, Any]], said: str, hint: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        wheels.choose(board(*pythons))
    assert said in caught.value.message and hint in caught.value.hint


def test_other_c_libraries_and_interpreters_take_none() -> None:
    with pytest.raises(DeviceError, match="musl"):
        wheels.choose(board({"glibc": ""}, libc="musl"))
    with pytest.raises(DeviceError, match="is pypy"):
        wheels.choose(board({"implementation": "pypy"}))


def test_a_pin_that_does_not_fit_names_itself() -> None:
    with pytest.raises(DeviceError, match=re.escape("no wheel of ai-edge-litert 2.3.0 fits")):
        wheels.choose(board(BITS_32), LITERT)
    with pytest.raises(InputError) as caught:
        wheels.choose(board({}), "ai-edge-litert==1.0")
    assert LITERT in caught.value.hint and "installed" in caught.value.hint


def test_every_line_of_the_table_can_be_read() -> None:
    table = wheels.table()
    known = {f"{release.package}=={release.version}" for release in table.releases}
    for wheel in table.wheels:
        assert re.fullmatch("[0-9a-f]{64}", wheel.sha256), wheel
        assert wheel.requirement in known or wheel.requirement.startswith("numpy=="), wheel
        assert wheel.machine in ("aarch64", "armv7l", "x86_64"), wheel
        assert (3, 7) <= wheel.python <= (3, 14), wheel
    assert len({wheel.name for wheel in table.wheels}) == len(table.wheels)
    for release in table.releases:
        machines = {
            w.machine
            for w in table.wheels
            if w.requirement == f"{release.package}=={release.version}"
        }
        assert machines == set(release.glibc), release
        assert wheels.numbers(release.numpy_from) < wheels.numbers(release.numpy_below)


def test_every_runtime_has_a_numpy_that_it_takes() -> None:
    table = wheels.table()
    for wheel in table.wheels:
        for release in table.releases:
            if wheel.requirement != f"{release.package}=={release.version}":
                continue
            fitting = [
                w
                for w in table.wheels
                if w.requirement.startswith("numpy==")
                and (w.python, w.machine) == (wheel.python, wheel.machine)
                and release.takes(w.version)
            ]
            assert fitting or wheel.machine == "armv7l", wheel


def test_other_content_is_another_installation() -> None:
    keys = [
        candidate.key
        for python in ({}, NUMPY_24, PYTHON_12, {"path": "/opt/python"}, PC, BITS_32)
        for candidate in wheels.choose(board(python))
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == wheels.choose(board({}))[0].key
