"""Whether a model fits a microcontroller: flash and RAM, what is estimated said to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgepack.micro.advice import flash_advice, ram_advice
from edgepack.micro.consumers import Consumer, activations, weights

if TYPE_CHECKING:
    from edgepack.target import Target
    from edgepack.tflite.flatbuffer import Graph

Kind = Literal["measured", "estimated", "proven"]
KIB = 1024
MEASURED_ON = "Cortex-M4"
"""The core on which the sizes in flash.toml were measured."""


@dataclass(frozen=True)
class Part:
    """Something that takes memory.

    Attributes:
        name: what it is.
        bytes: how much.
        kind: measured; estimated; or proven, as an arena in which the model ran.
    """

    name: str
    bytes: int
    kind: Kind


@dataclass(frozen=True)
class Memory:
    """Flash or RAM: what is needed of it and what there is.

    Attributes:
        name: flash or RAM.
        parts: what takes it.
        budget_bytes: what the target has; 0 where that depends on the part.
        error_bytes: how far the estimates may be off.
        largest: what takes most of it inside the model.
        advice: what would help, where it does not fit.
    """

    name: str
    parts: tuple[Part, ...]
    budget_bytes: int
    error_bytes: int
    largest: tuple[Consumer, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What is needed in all."""
        return sum(part.bytes for part in self.parts)

    @property
    def met(self) -> bool | None:
        """Whether there is enough; None where the target's memory is unknown."""
        return self.bytes <= self.budget_bytes if self.budget_bytes else None

    @property
    def close(self) -> bool:
        """Whether the judgement hangs on an estimate."""
        off = abs(self.budget_bytes - self.bytes)
        return bool(self.budget_bytes) and off <= self.error_bytes

    @property
    def line(self) -> str:
        """The sum, its parts and the budget, in one line."""
        parts = ", ".join(f"{p.name} {p.bytes:,} ({p.kind})" for p in self.parts)
        whole = f"{self.name}: {self.bytes:,} bytes"
        if not self.budget_bytes:
            return f"{whole}; how much there is depends on the part. {parts}"
        doubt = "; too close for these estimates" if self.close else ""
        return f"{whole} of {self.budget_bytes:,}{doubt}. {parts}"

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            "bytes": self.bytes,
            "budget_bytes": self.budget_bytes,
            "met": self.met,
            "close": self.close,
            "error_bytes": self.error_bytes,
            "parts": [vars(part) for part in self.parts],
            "largest": [vars(consumer) for consumer in self.largest],
            "advice": list(self.advice),
        }


@dataclass(frozen=True)
class Fit:
    """Flash and RAM of a model on a target."""

    target: str
    flash: Memory
    ram: Memory

    @property
    def met(self) -> bool | None:
        """Whether both are enough; None where one is unknown and none is too small."""
        both = (self.flash.met, self.ram.met)
        return False if False in both else None if None in both else True

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            "met": self.met,
            "flash": self.flash.facts(),
            "ram": self.ram.facts(),
            "lines": list(self.lines()),
        }

    def lines(self) -> Iterator[str]:
        """What there is to say of flash and of RAM, a line each."""
        yield self.flash.line
        yield self.ram.line
        yield "not counted: the board's own software (Mbed OS, ESP-IDF, drivers) and your program"

    def problems(self) -> tuple[dict[str, str], ...]:
        """What does not fit, with its largest consumers and what would help; empty if all does."""
        return tuple(
            _problem(memory, self.target)
            for memory in (self.flash, self.ram)
            if memory.met is False
        )


def judge(model_bytes: int, graph: Graph, arena_bytes: int, target: Target) -> Fit:
    """Compare what a model needs with what a microcontroller has.

    Args:
        model_bytes: of the flatbuffer.
        graph: of the model, its bodies included.
        arena_bytes: the arena in which it runs, with its margin.
        target: a microcontroller; its ``ram_kib`` and ``flash_kib`` may be 0 for unknown.
    """
    codes = sorted({o.code for part in (graph, *graph.bodies) for o in part.operators})
    kernels = target.kernels or "reference"
    code = tuple(_code(codes, kernels, target.cpu))
    flash = Memory(
        "flash",
        (Part("model", model_bytes, "measured"), *code),
        target.flash_kib * KIB,
        _error(code, kernels),
        weights(graph),
    )
    ram = Memory(
        "RAM",
        tuple(_ram(len(codes), arena_bytes, target)),
        target.ram_kib * KIB,
        table()["ram"]["stack_bytes"],
        activations(graph),
    )
    return Fit(
        target.name,
        _advised(flash, flash_advice(flash.bytes, model_bytes, graph, target)),
        _advised(ram, ram_advice(ram.bytes, arena_bytes, graph, target)),
    )


@cache
def table() -> Mapping[str, Any]:
    """The measured sizes and what is derived from them."""
    import tomllib

    return tomllib.loads(Path(__file__).with_name("flash.toml").read_text(encoding="utf-8"))


def _code(codes: list[str], kernels: str, cpu: str) -> Iterator[Part]:
    """The code: as a whole where just these operators were measured, else piece by piece."""
    known = {tuple(row["operators"]): row for row in table()["measured"]}
    if cpu == MEASURED_ON and (row := known.get(tuple(codes))) and kernels in row:
        yield Part(
            f"runtime and {len(codes)} operators, {kernels} kernels", row[kernels], "measured"
        )
        return
    sizes = table()["operators"][_sized_as(kernels)]
    yield Part("runtime", sizes["base"], "estimated")
    for code in codes:
        alike = table()["like"].get(code, "other")
        yield Part(code, sizes.get(code, sizes[alike]), "estimated")


def _sized_as(kernels: str) -> str:
    """Kernels whose sizes are known; those of ESP-NN are taken for CMSIS-NN's."""
    return kernels if kernels in table()["operators"] else "cmsis-nn"


def _error(code: Iterable[Part], kernels: str) -> int:
    estimated = sum(part.bytes for part in code if part.kind == "estimated")
    return int(estimated * table()["error"][_sized_as(kernels)])


def _ram(operators: int, arena_bytes: int, target: Target) -> Iterator[Part]:
    sizes = table()["ram"]
    yield Part("arena", arena_bytes, "estimated" if target.accelerator else "proven")
    static = sizes["static_bytes"] + operators * sizes["per_operator_bytes"]
    yield Part("variables of the runtime", static, "estimated")
    yield Part("stack", sizes["stack_bytes"], "estimated")


def _advised(memory: Memory, advice: Iterable[str]) -> Memory:
    from dataclasses import replace

    return replace(memory, advice=tuple(advice)) if memory.met is False else memory


def _problem(memory: Memory, target: str) -> dict[str, str]:
    over = memory.bytes - memory.budget_bytes
    largest = ", ".join(f"{c.name} {c.bytes:,}" for c in memory.largest[:3])
    doubt = "; this is within the estimates' error" if memory.close else ""
    return {
        "message": f"{memory.name} of {target}: {memory.bytes:,} bytes are needed and"
        f" {memory.budget_bytes:,} there, {over:,} too few{doubt}; most takes {largest}",
        "hint": "; ".join(memory.advice),
    }
