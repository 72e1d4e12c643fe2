"""Read the answers of programs: numbers that may be anything, and files by their paths."""

from __future__ import annotations

import re

WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", re.ASCII)


def whole(text: str) -> int | None:
    """A whole number of at most 18 digits; None where the text is anything else."""
    text = text.strip()
    return int(text) if WHOLE.fullmatch(text) else None


def number(text: str) -> float | None:
    """A decimal number; None where the text is anything else."""
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) else None


def version(text: str) -> str:
    """The first version, such as ``2.36``, in a text; empty where there is none."""
    found = VERSION.search(text)
    return found[0] if found else ""


def pairs(text: str, separator: str) -> dict[str, str]:
    """``key SEPARATOR value`` lines, stripped; the first line of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, there, value = line.partition(separator)
        if there:
            found.setdefault(key.strip(), value.strip())
    return found


def folders(text: str) -> dict[str, dict[str, str]]:
    """What ``grep . /dev/null FOLDER/FILE ...`` printed: by folder, then by file name.

    A line is ``/sys/class/thermal/thermal_zone0/temp:48312``.
    """
    found: dict[str, dict[str, str]] = {}
    for path, value in pairs(text, ":").items():
        folder, slash, name = path.rpartition("/")
        if slash and name:
            found.setdefault(folder, {})[name] = value
    return found
