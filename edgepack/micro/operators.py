"""The operators of TensorFlow Lite Micro, and which of them a model needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.errors import ModelError
from edgepack.table import printable

if TYPE_CHECKING:
    from edgepack.tflite.flatbuffer import Graph

TABLE = Path(__file__).with_name("operators.toml")
ANY = "*"
"""In the table: numbers of any type, but no text and no variable."""
NO_NUMBERS = frozenset({"string", "resource", "variant"})


@dataclass(frozen=True)
class Place:
    """Where one tensor of an operator stands, or several alike.

    Attributes:
        types: that it may have.
        many: whether any number of such tensors may stand here.
    """

    types: frozenset[str]
    many: bool = False

    def takes(self, dtype: str) -> bool:
        """Whether a tensor of a type may stand here; ``-`` is one that is left out."""
        return dtype in self.types or dtype == "-" or self._any(dtype)

    def _any(self, dtype: str) -> bool:
        return ANY in self.types and dtype not in NO_NUMBERS


@dataclass(frozen=True)
class Form:
    """Types of inputs and of outputs that go together."""

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    text: str

    def takes(self, inputs: Sequence[str], outputs: Sequence[str]) -> bool:
        """Whether a kernel of this form takes tensors of these types."""
        return _fit(self.inputs, inputs) and _fit(self.outputs, outputs)


@dataclass(frozen=True)
class Kernel:
    """An operator that TensorFlow Lite Micro has.

    Attributes:
        add: the method that adds it to a ``MicroMutableOpResolver``.
        version: the newest version of it that is known.
        forms: the types that its kernel takes.
        constants: inputs whose values must lie in the file.
        present: inputs that must not be left out by the index -1.
        scaled: inputs whose scale must not be 0.
    """

    add: str
    version: int
    forms: tuple[Form, ...]
    constants: tuple[int, ...]
    present: tuple[int, ...]
    scaled: tuple[int, ...]


def kernels() -> Mapping[str, Kernel]:
    """Every operator that TensorFlow Lite Micro has, by the code that a model names it with."""
    table = _table()
    return {code: _kernel(code) for part in ("builtin", "custom") for code in table[part]}


def kernel(code: str) -> Kernel | None:
    """What is known of one operator; None where TensorFlow Lite Micro has none of that name."""
    table = _table()
    return _kernel(code) if code in table["builtin"] or code in table["custom"] else None


def instead(code: str) -> str:
    """What a model may use instead of an operator; empty where nothing is known."""
    return str(_table()["instead"].get(code, ""))


def calls(graph: Graph) -> tuple[str, ...]:
    """The methods of ``MicroMutableOpResolver`` that a model needs called, each once, sorted.

    Args:
        graph: of the model; the bodies of its loops and branches count as well.

    Raises:
        ModelError: if TensorFlow Lite Micro does not have one of its operators.
    """
    codes = {operator.code for part in (graph, *graph.bodies) for operator in part.operators}
    found = {code: kernel(code) for code in codes}
    if missing := sorted(code for code, known in found.items() if known is None):
        raise ModelError(
            f"TensorFlow Lite Micro has no operator {printable(', '.join(missing))}",
            "edgepack inspect shows where a model uses it",
        )
    return tuple(sorted(known.add for known in found.values() if known is not None))


@cache
def _table() -> Mapping[str, Any]:
    import tomllib

    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@cache
def _kernel(code: str) -> Kernel:
    table = _table()
    row = table["builtin"].get(code) or table["custom"][code]
    return Kernel(
        add=row["add"],
        version=row.get("version", 1),
        forms=tuple(_forms(row["takes"], row.get("types", []))),
        constants=tuple(row.get("constants", ())),
        present=tuple(row.get("present", ())),
        scaled=tuple(row.get("scaled", ())),
    )


def _forms(takes: Iterable[str], types: Sequence[str]) -> Iterable[Form]:
    for text in takes:
        words = text.replace("|", " ").replace("...", " ").split()
        for dtype in types if "T" in words else [""]:
            inputs, _, outputs = text.partition("->")
            yield Form(
                tuple(_place(word, dtype) for word in inputs.split()),
                tuple(_place(word, dtype) for word in outputs.split()),
                " ".join(_shown(word, dtype) for word in text.split()),
            )


def _place(word: str, dtype: str) -> Place:
    types = _shown(word, dtype).removesuffix("...").split("|")
    return Place(frozenset(types), word.endswith("..."))


def _shown(word: str, dtype: str) -> str:
    return dtype + word[1:] if word in ("T", "T...") else word


def _fit(places: Sequence[Place], types: Sequence[str]) -> bool:
    """Whether types stand in their places; those at the end may be left out."""
    if len(types) > len(places):
        if not places or not places[-1].many:
            return False
        places = [*places, *[places[-1]] * (len(types) - len(places))]
    return all(place.takes(dtype) for place, dtype in zip(places, types, strict=False))
