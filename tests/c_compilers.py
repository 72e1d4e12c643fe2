"""The compilers that generated C and C++ must pass, and what a test asks of an object file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mcu.firmware import run

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Compiler:
    """A compiler with its words for a language."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it; skips where it is missing."""
        if not shutil.which(self.words[0]):
            pytest.skip(f"{self.words[0]} is not installed")
        return execute(*self.words, *STRICT, *words)

    def compile(self, source: Path, *words: str) -> Path:
        """The object file of a source, which must pass without a warning."""
        made = source.with_name(f"{source.name}.{self.words[0]}.o")
        done = self("-O2", *words, "-c", source, "-o", made)
        assert done.returncode == 0, done.stderr
        return made


GCC = Compiler(("gcc", "-std=c11"))
GXX = Compiler(("g++", "-std=c++17", "-xc++", "-Wold-style-cast", "-Wuseless-cast"))
CLANG = Compiler(("clang", "-std=c11"))
CLANGXX = Compiler(("clang++", "-std=c++17", "-xc++"))
ARM_GCC = Compiler(("arm-none-eabi-gcc", "-std=c11", "-mcpu=cortex-m4", "-mthumb"))
ARM_GXX = Compiler(("arm-none-eabi-g++", "-std=c++17", "-xc++", "-mcpu=cortex-m4", "-mthumb"))

C = (GCC, CLANG, ARM_GCC)
CXX = (GXX, CLANGXX, ARM_GXX)


def execute(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within a time."""
    return run(words, TIMEOUT_S)


@dataclass(frozen=True)
class Symbol:
    """Where a symbol of an object file lies.

    Attributes:
        section: its name.
        alignment: of the section, in bytes.
        flags: of the section, such as A for allocated and W for writable.
        size: of what the symbol stands for, in bytes.
        offset: from the section's start.
    """

    section: str
    alignment: int
    flags: str
    size: int
    offset: int


def symbol_of(made: Path, name: str) -> Symbol:
    """One symbol, as readelf tells; any architecture's."""
    sections = {}
    for row in _rows("-SW", made):
        number, found, _kind, *rest = row.replace("[ ", "[").lstrip("[").replace("]", "").split()
        flags = rest[4] if len(rest) == 8 else ""
        sections[number] = (found, int(rest[-1]), flags)
    for row in execute("readelf", "-sW", made).stdout.splitlines():
        if row.endswith(f" {name}"):
            _, value, size, *_, place, _ = row.split()
            return Symbol(*sections[place], int(size, 0), int(value, 16))
    raise AssertionError(f"there is no symbol {name} in {made}")


def _rows(option: str, made: Path) -> Iterable[str]:
    text = execute("readelf", option, made).stdout
    rows = (row.strip() for row in text.splitlines())
    return [row for row in rows if row.startswith("[") and not row.startswith(("[Nr]", "[ 0]"))]
