"""Takes values out of JSON that anybody may have written, and says where one is wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgepack.errors import InputError

LARGEST_FILE = 256 * 2**20
LARGEST_NUMBER = 1e15
DEEPEST = 32
SHOWN = 60
HINT = "give a file that edgepack bench --out wrote"


@dataclass(frozen=True)
class Node:
    """A value of a document, and the way to it, such as ``benchmarks[0].created``."""

    value: Any
    path: str = ""

    def refuse(self, wanted: str) -> NoReturn:
        """Raise an InputError that says what the value is and what it ought to be."""
        seen = repr(self.value)
        seen = seen if len(seen) <= SHOWN else f"{seen[: SHOWN - 3]}..."
        where = self.path or "the document"
        raise InputError(f"no measurement: {where} is {seen}, not {wanted}", HINT)

    def field(self, name: str) -> Node:
        """A field of an object, which must have it."""
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        path = f"{self.path}.{name}" if self.path else name
        if name not in self.value:
            raise InputError(f"no measurement: {path} is missing", HINT)
        return Node(self.value[name], path)

    def elements(self, *, empty: bool = False) -> list[Node]:
        """The elements of an array, which has some unless ``empty`` allows for none."""
        if not isinstance(self.value, list | tuple):
            self.refuse("an array")
        if not self.value and not empty:
            self.refuse("an array with elements")
        return [Node(value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def text(self, pattern: str = "(?s).*", wanted: str = "a text") -> str:
        """A text that a regular expression matches whole."""
        if not isinstance(self.value, str) or not re.fullmatch(pattern, self.value):
            self.refuse(wanted)
        return self.value

    def word(self, known: Iterable[str]) -> str:
        """One of a few texts."""
        words = tuple(known)
        if not isinstance(self.value, str) or self.value not in words:
            self.refuse(f"one of {', '.join(words)}")
        return self.value

    def whole(self, least: int) -> int:
        """A whole number."""
        if type(self.value) is not int or not least <= self.value < LARGEST_NUMBER:
            self.refuse(f"a whole number from {least} on")
        return self.value

    def amount(self) -> float:
        """A finite number from 0 on."""
        if not _is_amount(self.value):
            self.refuse("a finite number from 0 on")
        return float(self.value)

    def numbers(self, *, empty: bool = False) -> tuple[float, ...]:
        """An array of finite numbers from 0 on."""
        values = self.value if isinstance(self.value, list | tuple) else ()
        if not values or not all(map(_is_amount, values)):
            for node in self.elements(empty=empty):
                if not _is_amount(node.value):
                    node.refuse("a finite number from 0 on")
        return tuple(values)

    def plain(self) -> dict[str, Any]:
        """An object of any data that is nowhere nested deeper than `DEEPEST`, nor infinite."""
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        level: list[Any] = [self.value]
        for _ in range(DEEPEST):
            if not all(math.isfinite(value) for value in level if isinstance(value, float)):
                raise InputError(f"no measurement: {self.path} holds an infinite number", HINT)
            level = [child for value in level for child in _children(value)]
        if level:
            raise InputError(f"no measurement: {self.path} is nested too deeply", HINT)
        return dict(self.value)


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < LARGEST_NUMBER


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def read_json(path: Path) -> Any:
    """The data of a file that may hold anything.

    Raises:
        InputError: if it cannot be read, is too large or is no JSON.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} is no file", HINT)
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} is larger than {LARGEST_FILE // 2**20} MiB", HINT)
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", HINT) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}", HINT) from error


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"it holds {word}")
