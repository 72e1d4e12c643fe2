"""Text of a model as C: string literals, and identifiers that no two tensors share."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterable, Iterator

from edgepack.micro.c_names import c_name

PLAIN = frozenset(
    (string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>@[]^_`{|}~").encode()
)
"""What stands for itself in a literal: no quote, no backslash, and no ? of trigraphs."""

NOT_FOR_PROSE = re.compile(r"[^A-Za-z0-9 ._:;,+=()/'%&-]")
PROSE_LENGTH = 96


def prose(text: str) -> list[str]:
    """Lines for comments and READMEs of a text that may quote a model: nothing in it ends a
    comment, or is Markdown or HTML.
    """
    return textwrap.wrap(NOT_FOR_PROSE.sub("_", " ".join(text.split())), PROSE_LENGTH) or [""]


def c_string(text: str) -> str:
    """A literal for C and C++, quotes included, of ASCII only; the compiler reads UTF-8 from it.

    Everything unusual is an octal escape of three digits, which no following digit extends.
    """
    letters = (chr(b) if b in PLAIN else f"\\{b:03o}" for b in text.encode("utf-8", "replace"))
    return f'"{"".join(letters)}"'


def identifiers(names: Iterable[str]) -> Iterator[str]:
    """For each name an identifier that no other has; empty for a name that is."""
    taken: set[str] = set()
    for name in names:
        word = c_name(name) if name.strip() else ""
        number = 2
        unique = word
        while unique in taken:
            unique = f"{word}_{number}"
            number += 1
        taken |= {unique} - {""}
        yield unique


def c_float(value: float) -> str:
    """A literal of C that gives a float32 back exactly."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
