"""Templates: text files with words such as @name@ to be filled in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PLACE = re.compile(r"@([A-Za-z_]+)@")


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fill(path: Path, **values: object) -> str:
    """The template's text with each word replaced; what is filled in is not looked at again.

    Raises:
        KeyError: if the template has a word without a value.
    """
    return PLACE.sub(lambda place: str(values[place[1]]), _text(path))
