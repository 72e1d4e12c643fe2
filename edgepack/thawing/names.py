"""Names of a thawed model: those of the source, as far as Keras takes them, each once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edgepack.tflite.subgraph import Graph, Operator

FORBIDDEN = re.compile(r"[^A-Za-z0-9_.\\/>-]")
"""What no name of a Keras layer may hold; the first character may not be ``_ \\ / > -`` either."""

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
"""Operators that bear the bare name of their layer; others of the same layer say what they are."""


def allowed(name: str) -> str:
    """A name with what Keras does not take replaced by ``_``."""
    clean = FORBIDDEN.sub("_", name)
    return clean if re.match(r"[A-Za-z0-9.]", clean) else f"x{clean}"


@dataclass
class Names:
    """Gives each layer of a model a name of its own.

    Attributes:
        graph: the source.
        taken: names that are gone.
    """

    graph: Graph
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._weighted = {o.layer for o in self.graph.operators if o.code in WEIGHTED}

    def give(self, operator: Operator, kind: str) -> str:
        """An unused name after the layer that an operator comes from.

        Args:
            operator: of the source.
            kind: what is made of it, said where the layer's name alone is taken.
        """
        layer = allowed(operator.layer.replace("/", "_") or operator.code.lower())
        first = operator.code in WEIGHTED or operator.layer not in self._weighted
        return self.unused(layer if first and layer not in self.taken else f"{layer}_{kind}")

    def unused(self, base: str) -> str:
        """A name as it is, or numbered where it is taken."""
        name, count = base, 1
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name
