"""Runs Arm's ``vela``, which compiles a .tflite for the Ethos-U, as a child within a time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.artifact import ETHOSU_OPERATOR
from edgepack.errors import MissingExtraError, ModelError, StepError
from edgepack.micro.memory_plan import size_of
from edgepack.micro.vela_report import (
    Estimates,
    OperatorEstimate,
    Talk,
    complaint,
    parse_operators,
    parse_summary,
    parse_talk,
)

if TYPE_CHECKING:
    from edgepack.tflite.subgraph import Graph

PACKAGE = "ethos-u-vela"
MODULE = "ethosu.vela"
CONFIG = "Arm/vela.ini"
"""The configurations that come with vela."""
NAME = "model"
"""Of the file that vela is given, and so of those that it writes."""
MAX_TENSOR_BYTES = (1 << 31) - 1
"""More cannot lie in the 32-bit addresses of an Ethos-U55; vela would ask for all the memory."""


@dataclass(frozen=True)
class Options:
    """What vela compiles for, in its own words.

    Attributes:
        accelerator: such as ``ethos-u55-128``.
        system_config: the clock and memories around it, such as ``Ethos_U55_High_End_Embedded``.
        memory_mode: where weights and activations lie, such as ``Shared_Sram``.
        optimise: ``performance`` or ``size``.
        arena_cache_bytes: memory that it may use for speed; 0 leaves it to the memory mode.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    optimise: str = "performance"
    arena_cache_bytes: int = 0

    def arguments(self) -> list[str]:
        """The options for the command line."""
        given = [
            f"--accelerator-config={self.accelerator}",
            f"--config={CONFIG}",
            f"--system-config={self.system_config}",
            f"--memory-mode={self.memory_mode}",
            f"--optimise={self.optimise.capitalize()}",
        ]
        if self.arena_cache_bytes:
            given.append(f"--arena-cache-size={self.arena_cache_bytes}")
        return given


@dataclass(frozen=True)
class Compilation:
    """A compiled model and what vela says of it.

    Attributes:
        model: the .tflite with the custom operator ``ethos-u``.
        version: of vela.
        estimates: cycles and memory of the whole.
        operators: where each operator of the given model runs; none where vela does not say.
        talk: why operators stay on the CPU, and what it warned of.
    """

    model: bytes
    version: str
    estimates: Estimates
    operators: tuple[OperatorEstimate, ...]
    talk: Talk


def find_version() -> str:
    """The version of vela that is installed beside edgepack; it is not imported.

    Raises:
        MissingExtraError: if it is not installed.
    """
    from importlib import metadata

    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(PACKAGE, "mcu") from error


def compile_model(model: bytes, options: Options, *, timeout_s: int) -> Compilation:
    """Compile a model for an Ethos-U; the same bytes and options give the same bytes.

    Args:
        model: a .tflite, of which vela takes the operators with 8 or 16 bits.
        options: what it is compiled for.
        timeout_s: the longest that vela may take.

    Raises:
        MissingExtraError: if vela is not installed.
        ModelError: if the model is no .tflite, or broken: vela would crash or read past its end.
        StepError: if it is compiled already, or vela refuses it, crashes or takes too long.
    """
    from edgepack.tflite.flatbuffer import read_graph

    version = find_version()
    _check(read_graph(model))
    with tempfile.TemporaryDirectory(prefix="edgepack-") as name:
        folder = Path(name)
        (folder / f"{NAME}.tflite").write_bytes(model)
        said = _run(folder, options, version, timeout_s)
        summary, debug = _written(folder, "_summary_*.csv"), _written(folder, "_debug.xml")
        return Compilation(
            model=(folder / f"{NAME}_vela.tflite").read_bytes(),
            version=version,
            estimates=parse_summary(summary),
            operators=parse_operators(debug),
            talk=parse_talk(said),
        )


def _check(graph: Graph) -> None:
    for part in (graph, *graph.bodies):
        if any(operator.code == ETHOSU_OPERATOR for operator in part.operators):
            raise StepError("the model is compiled for an Ethos-U already", "leave step vela out")
        for tensor in part.tensors:
            size, name = size_of(tensor), f"tensor {tensor.index} of {tensor.dtype}"
            if size > MAX_TENSOR_BYTES:
                raise ModelError(f"{name}{list(tensor.shape)} has {size} bytes", "make it smaller")
            if tensor.is_constant and tensor.sparsity is None and tensor.size_bytes < size:
                raise ModelError(
                    f"{name}{list(tensor.shape)} has {tensor.size_bytes} bytes of {size}",
                    "copy the file again, or convert the model again",
                )


def _run(folder: Path, options: Options, version: str, timeout_s: int) -> str:
    """What vela prints; it writes into the folder."""
    fixed = ["--output-dir=.", "--enable-debug-db", f"{NAME}.tflite"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", MODULE, *options.arguments(), *fixed],
            cwd=folder,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:replace", "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise StepError(f"vela cannot be started: {error.strerror}", "try again") from error
    except subprocess.TimeoutExpired as error:
        raise StepError(
            f"vela {version} did not end within {timeout_s} s",
            f"give it more time: --set vela.timeout_s={2 * timeout_s}",
        ) from error
    said, faults = (_text(part) for part in (done.stdout, done.stderr))
    if done.returncode or not (folder / f"{NAME}_vela.tflite").is_file():
        raise _failure(version, done.returncode, complaint(faults) or complaint(said))
    return said


def _failure(version: str, code: int, why: str) -> StepError:
    how = f"crashed with signal {-code}" if code < 0 else "failed"
    return StepError(
        f"vela {version} {how}: {why or f'exit code {code}'}",
        "type: edgepack inspect MODEL.tflite, and vela MODEL.tflite for all that it says",
    )


def _written(folder: Path, ending: str) -> str:
    """A text file that vela wrote; empty where it wrote none."""
    return "".join(_text(path.read_bytes()) for path in folder.glob(f"{NAME}{ending}"))


def _text(data: bytes) -> str:
    return "\n".join(data.decode(errors="replace").splitlines())
