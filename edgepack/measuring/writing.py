"""Writes result files whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from edgepack.errors import InputError


def check_folder(path: Path | None) -> None:
    """Refuse a file in a folder that does not exist, before anything slow starts.

    Raises:
        InputError: if there is no such folder.
    """
    if path and not path.absolute().parent.is_dir():
        raise InputError(
            f"cannot write {path}: there is no folder {path.absolute().parent}", "make it"
        )


def write_whole(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it; another one there is replaced.

    Raises:
        InputError: if it cannot be written.
    """
    part = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        hint = "make room, or name a file where you may write"
        raise InputError(f"cannot write {path}: {error.strerror}", hint) from error
    finally:
        part.unlink(missing_ok=True)
