"""Templates: text files beside this module with words such as @name@ to be filled in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "templates"
PLACE = re.compile(r"@([A-Za-z_]+)@")


@cache
def _text(file: str) -> str:
    return (FOLDER / f"{file}.in").read_text(encoding="utf-8")


def fill(file: str, **values: object) -> str:
    """The template's text with each word replaced; what is filled in is not looked at again.

    ``@NAME@`` stands for ``name`` in capitals.

    Raises:
        KeyError: if the template has a word without a value.
    """
    if "name" in values:
        values["NAME"] = str(values["name"]).upper()
    return PLACE.sub(lambda place: str(values[place[1]]), _text(file))


def part(file: str, **values: object) -> str:
    """The same without the last end of line, to be put into another template."""
    return fill(file, **values).removesuffix("\n")
