"""Reads the user's and the system's SSH configuration, with the files that they include."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

from edgepack.errors import InputError

SYSTEM = Path("/etc/ssh/ssh_config")
INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.+)", re.IGNORECASE)
HOST = re.compile(r"\s*host(?:\s*=\s*|\s+)(.+)", re.IGNORECASE)
DEEPEST = 16
"""Levels of ``Include``, as OpenSSH allows."""


def user_folder() -> Path:
    """Where the user keeps keys, known hosts and the configuration."""
    return Path.home() / ".ssh"


def read_config() -> str:
    """Both configurations as one text; what the user says stands first, so it prevails.

    Raises:
        InputError: if a file cannot be read.
    """
    parts = [_lines(user_folder() / "config", user_folder()), _lines(SYSTEM, SYSTEM.parent)]
    return "\nHost *\n".join("\n".join(part) for part in parts) + "\n"


def aliases() -> list[str]:
    """The names that the user's configuration gives to hosts, without patterns, in its order."""
    return [name for name in _patterns() if not set(name) & set("*?!")]


def is_alias(name: str) -> bool:
    """Whether the user's configuration says something of this very name, or of names like it."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _patterns() if pattern != "*")


def _patterns() -> list[str]:
    lines = _lines(user_folder() / "config", user_folder())
    found = [match[1] for line in lines if (match := HOST.fullmatch(line))]
    return [word.strip('"') for words in found for word in words.split()]


def _lines(path: Path, folder: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file, and in place of each ``Include`` the lines of the files it names."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise InputError(
            f"the SSH configuration {path} cannot be read: {error.strerror}"
        ) from error
    for line in text.splitlines():
        include = INCLUDE.fullmatch(line)
        if not include:
            yield line
        elif depth < DEEPEST:
            for pattern in include[1].split():
                for file in _included(pattern.strip('"'), folder):
                    yield from _lines(file, folder, depth + 1)


def _included(pattern: str, folder: Path) -> list[Path]:
    full = folder / Path(pattern).expanduser()
    return sorted(p for p in Path(full.anchor).glob(str(full.relative_to(full.anchor))))
