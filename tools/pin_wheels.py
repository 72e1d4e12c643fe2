"""Writes edgepack/boards/wheels.toml: the wheels that boards are given, each with its sha256.

``python tools/pin_wheels.py`` asks pip, with its ordinary settings, for every wheel of the table
below that its index has; nothing is installed. Run it after a change of the table, look at the
difference, and run the tests of provisioning.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

TABLE = Path(__file__).parent.parent / "edgepack" / "boards" / "wheels.toml"
MACHINES = ("aarch64", "armv7l", "x86_64")
NEWEST_GLIBC = 40
OLDEST_GLIBC = 17

RELEASES = {
    "ai-edge-litert": {
        "2.3.0": ("3.10", "3.11", "3.12", "3.13", "3.14"),
        "2.1.0": ("3.9", "3.10", "3.11", "3.12", "3.13"),
    },
    "tflite-runtime": {
        "2.14.0": ("3.8", "3.9", "3.10", "3.11"),
        "2.13.0": ("3.8", "3.9", "3.10"),
        "2.11.0": ("3.7", "3.8", "3.9"),
    },
}
"""The runtimes, the preferred ones first, and the Python versions that each has wheels for."""

NUMPY = {
    "1.26.4": ("3.9", "3.10", "3.11", "3.12"),
    "2.3.5": ("3.13", "3.14"),
    "1.24.4": ("3.8",),
    "1.21.6": ("3.7",),
}
"""One numpy for each Python version, and one that all of its runtimes can work with."""

NUMPY_RANGES = {
    ("ai-edge-litert", "2.3.0"): ("1.23.2", "3"),
    ("ai-edge-litert", "2.1.0"): ("1.23.2", "3"),
    ("tflite-runtime", "2.14.0"): ("1.23.2", "2"),
    ("tflite-runtime", "2.13.0"): ("1.21.2", "2"),
    ("tflite-runtime", "2.11.0"): ("1.19.2", "2"),
}
"""By release: the oldest numpy that its metadata names, and the first that is too new for it."""

HEAD = """\
# The wheels that boards are given, written by tools/pin_wheels.py; do not edit it by hand.
#
# Where a board can take several releases, the first is chosen, with the first numpy of [files]
# that fits, unless the board has one from numpy_from to below numpy_below.
# glibc: what the libraries ask the loader for, by machine; the tags in their names say less
# (ai-edge-litert for aarch64) or more (tflite-runtime) than that.
# unused: what is not unpacked, because no interpreter loads it.
"""
UNUSED = (
    "ai_edge_litert/aot/*",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/tools/apply_plugin_main",
    "ai_edge_litert/vendors/*",
    "numpy/*/tests/*",
    "numpy/tests/*",
)


def main() -> None:
    lines = [HEAD, "unused = [", *(f'    "{pattern}",' for pattern in UNUSED), "]"]
    files: list[str] = []
    for package, releases in {**RELEASES, "numpy": NUMPY}.items():
        for version, pythons in releases.items():
            found = wheels(f"{package}=={version}", pythons)
            files += [f'"{name}" = "{sha256}"' for name, sha256 in found.values()]
            if package in RELEASES:
                lines += release(package, version, found)
    TABLE.write_text("\n".join([*lines, "", "[files]", *files]) + "\n", encoding="utf-8")


def release(package: str, version: str, found: dict[tuple[str, str], tuple[str, str]]) -> list[str]:
    """The section of one release; the wheels of one machine all need the same glibc."""
    numpy_from, numpy_below = NUMPY_RANGES[package, version]
    facts = {"package": package, "version": version}
    facts |= {"numpy_from": numpy_from, "numpy_below": numpy_below}
    samples = dict(reversed(found))
    needs = {m: glibc(f"{package}=={version}", samples[m], m) for m in MACHINES if m in samples}
    table = ", ".join(f'{machine} = "{text}"' for machine, text in needs.items())
    lines = [f'{key} = "{value}"' for key, value in facts.items()]
    return ["", "[[releases]]", *lines, f"glibc = {{ {table} }}"]


def wheels(requirement: str, pythons: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, str]]:
    """Name and sha256 of the wheel that pip would take, by machine and Python."""
    found = {}
    for machine in MACHINES:
        for python in pythons:
            wheel = ask(requirement, python, machine)
            print(requirement, machine, python, wheel[0] if wheel else "none", flush=True)
            if wheel:
                found[machine, python] = wheel
    return found


def ask(requirement: str, python: str, machine: str) -> tuple[str, str] | None:
    """Name and sha256 of one wheel; None where there is none."""
    report = pip(
        "install",
        "--dry-run",
        "--ignore-installed",
        "--report=-",
        f"--target={tempfile.gettempdir()}",
        *tags(python, machine),
        requirement,
    )
    if report is None:
        return None
    origin = json.loads(report)["install"][0]["download_info"]
    return origin["url"].rpartition("/")[2], origin["archive_info"]["hashes"]["sha256"]


def glibc(requirement: str, python: str, machine: str) -> str:
    """The newest version of glibc that a library of a wheel asks the loader for, by readelf."""
    with tempfile.TemporaryDirectory() as name:
        pip("download", f"--dest={name}", *tags(python, machine), requirement)
        (wheel,) = Path(name).iterdir()
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(name)
        libraries = [
            str(p)
            for p in Path(name).rglob("*.so*")
            if not any(fnmatch(str(p.relative_to(name)), pattern) for pattern in UNUSED)
        ]
        done = subprocess.run(
            ["readelf", "--version-info", *libraries], capture_output=True, text=True, check=True
        )
    versions = re.findall(r"Name: GLIBC_([0-9]+)\.([0-9]+)", done.stdout)
    newest = max((int(major), int(minor)) for major, minor in versions)
    return ".".join(map(str, newest))


def tags(python: str, machine: str) -> list[str]:
    """Options of pip for a board's Python."""
    platforms = [f"manylinux_2_{n}_{machine}" for n in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)]
    platforms.append(f"manylinux2014_{machine}")
    options = ["--implementation=cp", f"--python-version={python}"]
    return [*options, *(f"--platform={platform}" for platform in platforms)]


def pip(action: str, *arguments: str) -> str | None:
    """What pip says; None where it finds no such wheel."""
    options = ["--quiet", "--no-deps", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", action, *options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" not in done.stderr:
        sys.exit(done.stderr)
    return None if done.returncode else done.stdout


if __name__ == "__main__":
    main()
