"""Compile for Coral's Edge TPU with Coral's own compiler, which must be on the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.progress import Progress
from edgepack.step import Given, Step, setting

if TYPE_CHECKING:
    from edgepack.tflite.edgetpu import Forecast
    from edgepack.tflite.edgetpu_compiler import Compilation

TOLD = 3
"""How many operators an error names."""


@dataclass(frozen=True)
class Edgetpu(Step):
    """Compile an 8-bit .tflite for the Edge TPU, and tell what stays on the CPU and why.

    The compiler's options are described at coral.ai/docs/edgetpu/compiler.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"tflite"})
    gives: ClassVar[str] = "edgetpu"

    min_runtime_version: int = setting(
        14, "oldest Edge TPU runtime that the model must run on", low=10, high=14
    )
    search_delegate: bool = setting(
        False, "where the compiler fails, leave ever more of the model's end to the CPU"
    )
    delegate_search_step: int = setting(
        1, "operators that each such search leaves out at once", unit="operators", low=1
    )
    multiple_subgraphs: bool = setting(
        False, "compile what follows an operator on the CPU, too (experimental in the compiler)"
    )
    timeout_s: int = setting(600, "longest time that one run may take", unit="s", low=1)
    attempts: int = setting(3, "most runs, as the compiler sometimes crashes", low=1, high=20)
    strict: bool = setting(
        True, "refuse beforehand what the compiler is known to refuse or to take wrongly"
    )

    def check_after(self, earlier: Sequence[Step]) -> None:
        """Refuse conversions to anything but 8 bits: the Edge TPU computes with nothing else."""
        for step in earlier:
            chosen = asdict(step).get("quantization", "int8")
            if chosen != "int8":
                raise RecipeError(
                    f"the Edge TPU computes in 8 bits only, but convert.quantization is {chosen}",
                    "set convert.quantization to int8",
                )

    def outside(self) -> str:
        """The compiler on the path, with its version."""
        from edgepack.tflite import edgetpu_compiler

        return f"{edgetpu_compiler.PROGRAM} {edgetpu_compiler.find_version()}"

    def apply(self, model: Any, given: Given) -> bytes:
        """The compiled flatbuffer.

        Raises:
            StepError: if the compiler cannot take the model, or leaves all of it to the CPU.
        """
        from edgepack.tflite import edgetpu, edgetpu_compiler
        from edgepack.tflite.flatbuffer import read_graph

        expected = edgetpu.forecast(
            read_graph(model), self.min_runtime_version, parts=self.multiple_subgraphs
        )
        if self.strict and expected.problems:
            raise StepError(
                f"the model does not fit the Edge TPU: {'; '.join(expected.problems)}",
                "take the recipe edgetpu-int8, or try it nevertheless: --set edgetpu.strict=false",
            )
        made = edgetpu_compiler.compile_model(
            model,
            self._options(),
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            report=lambda n: given.report(Progress("compile", n - 1, 0, f"attempt {n}")),
        )
        self._tell(made, expected, given)
        return made.model

    def _options(self) -> list[str]:
        options = ["--min_runtime_version", str(self.min_runtime_version)]
        if self.search_delegate:
            step = str(self.delegate_search_step)
            options += ["--search_delegate", "--delegate_search_step", step]
        return [*options, "--enable_multiple_subgraphs"] if self.multiple_subgraphs else options

    def _tell(self, made: Compilation, expected: Forecast, given: Given) -> None:
        """Record what the compiler said; a model of which nothing is mapped is a failure."""
        log = made.log
        if not log.mapped:
            raise StepError(
                f"the compiler leaves all {log.unmapped} operators to the CPU:"
                f" {expected.reasons(TOLD) or '; '.join(sorted({r.status for r in log.rows}))}",
                "edgepack inspect MODEL.tflite --target coral-usb names what does not fit",
            )
        given.record("edgetpu", {**log.facts(), "attempts": made.attempts})
        total = log.mapped + log.unmapped
        given.remark(f"{log.mapped} of {total} operators run on the Edge TPU")
        for row in log.on_cpu:
            given.remark(f"{row.count} {row.operator} on the CPU: {row.status}")
        if log.off_chip_bytes:
            given.remark(
                f"{log.off_chip_bytes:,} bytes of parameters do not fit on the chip, which keeps"
                f" {log.on_chip_used_bytes:,}: they are sent to it for each inference"
            )
