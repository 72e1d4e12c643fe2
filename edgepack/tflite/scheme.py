"""What a quantization asks for: a scheme for the whole model, and rules for single layers."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from edgepack.errors import RecipeError
from edgepack.plugins import suggest

KINDS = ("static", "dynamic", "weights")
"""Integers all through, with calibrated ranges; integer weights and activations that the runtime
quantizes as they come; integer weights that are computed with as floats."""

INTEGERS = ("int8", "int4")
"""What weights can be stored as."""

FORMATS = ("float", *INTEGERS)
"""What a rule can ask for."""

EXAMPLE = "write one such as scores=float or CONV_2D:block_.*=int4"

SYNTAX = re.compile(r"(?:([A-Z][A-Z0-9_]*):)?(.+)=([^=]*)", re.DOTALL)


@dataclass(frozen=True)
class Scheme:
    """How a model is quantized.

    Attributes:
        kind: one of `KINDS`.
        weights: one of `INTEGERS`.
        activations: ``int8`` or ``int16``; means something for ``static`` only.
        io: ``float`` or ``integer``: the type of inputs and outputs of ``static``.
        per_channel: whether each channel of a weight has a scale of its own.
    """

    kind: str = "static"
    weights: str = "int8"
    activations: str = "int8"
    io: str = "float"
    per_channel: bool = True


@dataclass(frozen=True)
class Rule:
    """An exception for some layers.

    Attributes:
        text: as it was written.
        operator: the code of the operators that it is for, such as ``CONV_2D``; empty for all.
        layer: matches the whole name of a layer.
        format: one of `FORMATS`.
    """

    text: str
    operator: str
    layer: re.Pattern[str]
    format: str

    def covers(self, operator: str, names: Collection[str]) -> bool:
        """Whether it is for an operator of this code, and one of these names."""
        return self.operator in ("", operator) and any(map(self.layer.fullmatch, names))


def literal(layer: str) -> str:
    """The expression of a rule that means one layer, whatever its name holds."""
    return re.escape(layer).replace(":", r"\:")


def read_rule(text: str) -> Rule:
    """The rule that ``[OPERATOR:]REGEX=FORMAT`` means.

    Raises:
        RecipeError: if it is none.
    """
    found = SYNTAX.fullmatch(text)
    if not found:
        raise RecipeError(f"the rule {text!r} is no [OPERATOR:]REGEX=FORMAT", EXAMPLE)
    operator, layer, wanted = found.groups(default="")
    if wanted not in FORMATS:
        hint = suggest(wanted, list(FORMATS))
        raise RecipeError(f"the rule {text!r} asks for the format {wanted!r}", hint)
    try:
        return Rule(text, operator, re.compile(layer, re.DOTALL), wanted)
    except re.error as error:
        message = f"the rule {text!r} has no regular expression: {error}"
        raise RecipeError(message, EXAMPLE) from error
