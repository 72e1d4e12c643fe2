"""What the agent says where it cannot measure."""

from __future__ import annotations

LONGEST_MESSAGE = 160


class RefusedError(Exception):
    """What was refused, and why.

    Args:
        kind: ``runtime``, ``model``, ``inputs``, ``file``, ``lock`` (its file),
            ``busy`` (another session measures) or one of `edgetpu.KINDS`.
        message: why, in one line.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def one_line(error: Exception) -> str:
    """An error's text without line breaks, and not longer than anybody reads."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."
