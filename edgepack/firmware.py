"""The contract of a runtime without an operating system: what it makes of a model, and its C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from edgepack import plugins
from edgepack.progress import Reporter
from edgepack.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Subject:
    """What is packed for a microcontroller.

    Attributes:
        name: of the model, as the user's file is called.
        target: the board.
        tried: the .tflite that this machine can run.
        named: the same with the names of its layers.
        deployed: the .tflite that the board runs; another one where it has an accelerator.
        sources: the C files that the recipe ended in, by name.
        inputs: the model's input names in its order.
        outputs: its output names.
        samples: golden inputs ``[n, ...]`` by name, preprocessed.
        labels: words for the classes; none where they are unknown.
        provenance: where the model comes from, by what.
    """

    name: str
    target: Target
    tried: bytes
    named: bytes
    deployed: bytes
    sources: Mapping[str, bytes]
    inputs: Sequence[str]
    outputs: Sequence[str]
    samples: Mapping[str, NDArray[Any]]
    labels: Sequence[str]
    provenance: Mapping[str, str]

    @property
    def used(self) -> Target:
        """The board without its accelerator, unless the model was compiled for that."""
        is_compiled = self.deployed != self.tried
        return self.target if is_compiled else replace(self.target, accelerator="")


class Firmware(Protocol):
    """What a module under ``edgepack.runtimes`` holds, if it runs on microcontrollers."""

    def outside(self) -> str:
        """Name and version of the package that runs models as the runtime does.

        Raises:
            MissingExtraError: if it is not installed.
        """
        ...

    def check(self, model: bytes) -> None:
        """Refuse what the runtime does not have.

        Args:
            model: a .tflite with the names of its layers.

        Raises:
            ModelError: naming operators, the layers that they come from, and what would help.
        """
        ...

    def run(
        self,
        model: bytes,
        samples: Mapping[str, NDArray[Any]],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> dict[str, NDArray[Any]]:
        """What the runtime makes of samples, one after another, on this machine.

        Args:
            model: a .tflite.
            samples: preprocessed inputs ``[n, ...]`` by name.
            inputs: their names in the graph's order.
            outputs: the outputs' names in the graph's order.

        Returns:
            Outputs ``[n, ...]`` by name, as real numbers.
        """
        ...

    def need(self, model: bytes, named: bytes, target: Target, report: Reporter) -> dict[str, Any]:
        """Measure what a board will need, as plain data; ``problems`` lists what does not fit.

        Args:
            model: the .tflite that the board runs.
            named: what it was made from, with the names of its layers; the same where it was not.
            target: the board, without its accelerator unless the model is compiled for that.
            report: hears of progress.
        """
        ...

    def examine(self, subject: Subject, report: Reporter) -> dict[str, Any]:
        """What `need` tells, and whether the board will compute what this machine does.

        Each of its ``problems`` has a ``message`` and a ``hint``.
        """
        ...

    def pack(self, subject: Subject, facts: Mapping[str, Any]) -> dict[str, bytes]:
        """The files for the user's project by their paths, from what `examine` found."""
        ...


def find(runtime: str) -> Firmware | None:
    """The runtime's module if it runs without an operating system, else None."""
    module: Any = plugins.load("runtimes", runtime)
    return module if hasattr(module, "pack") else None
