"""The templates beside this module, in which ``@NAME@`` stands for ``name`` in capitals."""

from __future__ import annotations

from pathlib import Path

from edgepack import template

FOLDER = Path(__file__).parent / "templates"


def fill(file: str, **values: object) -> str:
    """The template's text with each word replaced.

    Raises:
        KeyError: if the template has a word without a value.
    """
    if "name" in values:
        values["NAME"] = str(values["name"]).upper()
    return template.fill(FOLDER / f"{file}.in", **values)


def part(file: str, **values: object) -> str:
    """The same without the last end of line, to be put into another template."""
    return fill(file, **values).removesuffix("\n")
