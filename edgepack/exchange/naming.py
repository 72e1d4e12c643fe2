"""Names for inputs and outputs that every framework takes."""

from __future__ import annotations

import re
from collections.abc import Iterable


def words(names: Iterable[str]) -> list[str]:
    """Names without characters that TensorFlow's scopes refuse, all of them different."""
    made: list[str] = []
    for name in names:
        word = re.sub(r"[^A-Za-z0-9_.\-]", "_", name).lstrip("._-") or "tensor"
        made.append(next(w for w in _numbered(word, len(made)) if w not in made))
    return made


def _numbered(word: str, count: int) -> list[str]:
    return [word, *(f"{word}_{i}" for i in range(1, count + 1))]
