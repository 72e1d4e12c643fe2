"""Compile for Arm's Ethos-U with Arm's vela, and tell what stays on the CPU and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError, TargetError
from edgepack.step import Given, Step, setting

if TYPE_CHECKING:
    from edgepack.micro.vela import Options
    from edgepack.target import Target

COMPUTED = ("int8", "int16x8")
"""Quantizations that the Ethos-U computes with."""
TOLD = 3
"""How many reasons an error names."""


@dataclass(frozen=True)
class Vela(Step):
    """A .tflite in which the custom operator ``ethos-u`` stands for all that the Ethos-U computes.

    Vela's options are described in OPTIONS.md of gitlab.arm.com/artificial-intelligence/ethos-u/
    ethos-u-vela.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"tflite"})
    gives: ClassVar[str] = "ethosu"
    extras: ClassVar[tuple[str, ...]] = ("mcu",)

    optimise: str = setting(
        "performance", "what matters more: speed, or memory", choices=("performance", "size")
    )
    arena_cache_bytes: int = setting(
        0, "memory to use for speed; 0 leaves it to the target's memory mode", unit="bytes", low=0
    )
    timeout_s: int = setting(600, "longest time that vela may take", unit="s", low=1)

    def needs(self) -> frozenset[str]:
        """The target, for which vela compiles."""
        return frozenset({"target"})

    def check_after(self, earlier: Sequence[Step]) -> None:
        """Refuse conversions that leave nothing to the Ethos-U, which computes in integers."""
        for step in earlier:
            chosen = asdict(step).get("quantization", "int8")
            if chosen not in COMPUTED:
                raise RecipeError(
                    "the Ethos-U computes in 8 and 16 bits only, but convert.quantization is"
                    f" {chosen}",
                    "set convert.quantization to int8",
                )

    def check_target(self, target: Target) -> None:
        """Refuse a target without an Ethos-U.

        Raises:
            RecipeError: if it has none.
            TargetError: if it does not say what is around its Ethos-U.
        """
        if not target.accelerator.startswith("ethos-u"):
            has = f"the accelerator {target.accelerator}" if target.accelerator else "none"
            raise RecipeError(
                f"step vela compiles for the Ethos-U, but target {target.id} has {has}",
                f"take the recipe {target.recipe}, or the target ethos-u55-128 or ethos-u65-256",
            )
        for key in ("system_config", "memory_mode"):
            if not getattr(target, key):
                raise TargetError(
                    f"target {target.id} has the accelerator {target.accelerator}, but no {key}",
                    f"write {key} in vela's words into it: vela --list-configs Arm/vela.ini",
                )

    def outside(self) -> str:
        """Vela with its version."""
        from edgepack.micro import vela

        return f"{vela.PACKAGE} {vela.find_version()}"

    def apply(self, model: Any, given: Given) -> bytes:
        """The compiled flatbuffer, without the names that only serve to tell of it.

        Raises:
            RecipeError: if the target has no Ethos-U.
            StepError: if vela cannot take the model, or leaves all of it to the CPU.
        """
        from edgepack.micro import vela
        from edgepack.micro.vela_placement import place
        from edgepack.tflite.stripping import strip

        self.check_target(given.target)
        options = self._options(given.target)
        made = vela.compile_model(model, options, timeout_s=self.timeout_s)
        placed = place(model, made)
        if not placed.parts:
            raise StepError(
                f"vela leaves all {placed.total} operators to the CPU:"
                f" {'; '.join(placed.reasons()[:TOLD])}",
                "convert to int8 with integer inputs and outputs: the recipe ethosu-int8",
            )
        given.record("ethosu", asdict(options) | placed.facts())
        for sentence in placed.remarks(options.accelerator):
            given.remark(sentence)
        return strip(made.model)

    def _options(self, target: Target) -> Options:
        from edgepack.micro.vela import Options

        words = (target.accelerator, target.system_config, target.memory_mode)
        return Options(*words, self.optimise, self.arena_cache_bytes)
