"""Runs models on this machine as a microcontroller would, in a process that may crash."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from edgepack.errors import MissingExtraError, ModelError, StepError
from edgepack.micro import child
from edgepack.micro.allocations import Allocations, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepack.tflite.flatbuffer import Graph

Runtime = Literal["tflm", "litert-reference", "litert-xnnpack"]
"""TensorFlow Lite Micro; LiteRT with its reference kernels; LiteRT as it comes, with XNNPACK."""

NAMES: Mapping[str, str] = {
    "tflm": "TensorFlow Lite Micro",
    "litert-reference": "LiteRT (reference kernels)",
    "litert-xnnpack": "LiteRT (XNNPACK)",
}

TIMEOUT_S = 60
"""For one run of a model; a model of a microcontroller takes milliseconds here."""
GRACE_S = 10
"""For a child to start, to import a runtime and to answer."""
MAX_ARENA_BYTES = 1 << 30
"""What this machine gives at most; the largest microcontrollers have a hundredth of it."""
SHOWN = 400
"""Characters of a runtime's words that a message repeats."""

NOISE = re.compile(r"^(INFO|WARNING): |^WARNING: All log messages|^\s*$|^[IW]\d{4} ")


@dataclass(frozen=True)
class Case:
    """A model and its inputs, laid down for a child."""

    model: Path
    inputs: Path
    rows: int
    width: int
    out: int
    arena: int


@dataclass(frozen=True)
class Answer:
    """How a fork ended: its exit code, or the signal that killed it, and what it printed."""

    talk: str
    code: int = 0
    signal: int = 0

    @property
    def words(self) -> str:
        """What the runtime printed, on one line, its beginning where that is long."""
        lines = [line.strip() for line in self.talk.splitlines() if not NOISE.search(line)]
        said = "; ".join(lines)
        return said if len(said) <= SHOWN else said[:SHOWN] + " ..."

    @property
    def failure(self) -> str:
        """What went wrong; empty where nothing did."""
        if self.signal == signal.SIGALRM:
            return f"did not end within {TIMEOUT_S} s"
        if self.signal:
            name = signal.Signals(self.signal).name
            return f"crashed with {name}" + (f": {self.words}" if self.words else "")
        return f"refuses it: {self.words}" if self.code else ""


class Session:
    """A child process with the runtimes imported, for many runs one after the other."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgepack-")
        self._count = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Session:
        """Start the child, which shares no files, signals or terminal with this process."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", child.__file__, self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child and all that it started, and remove its files."""
        if self._process is not None:
            self._end(self._process)
        self._folder.cleanup()

    def load(self, model: bytes, inputs: Sequence[Sequence[NDArray[Any]]]) -> Case:
        """Lay down a model and its inputs: a row for each invocation, in the graph's order.

        Raises:
            ModelError: if the model is broken.
        """
        import numpy as np

        from edgepack.tflite.flatbuffer import read_graph

        graph = read_graph(model)
        case = Case(
            model=self._path("tflite"),
            inputs=self._path("npz"),
            rows=len(inputs),
            width=len(graph.inputs),
            out=len(graph.outputs),
            arena=generous_arena(graph, len(model)),
        )
        case.model.write_bytes(model)
        named = {f"{i}_{j}": x for i, row in enumerate(inputs) for j, x in enumerate(row)}
        np.savez(case.inputs, **cast(Any, named))
        return case

    def run(
        self,
        case: Case,
        runtime: Runtime = "tflm",
        *,
        reset: bool = False,
        tensors: Sequence[int] | None = None,
    ) -> list[list[NDArray[Any]]]:
        """The stored outputs of each invocation, in a fresh interpreter.

        Args:
            case: what `load` gave.
            runtime: where it runs.
            reset: forget variables between invocations.
            tensors: of TensorFlow Lite Micro only: read these instead of the outputs.

        Raises:
            MissingExtraError: if TensorFlow Lite Micro is not installed.
            ModelError: if the runtime refuses the model, crashes or takes too long.
        """
        import numpy as np

        path = self._path("npz")
        wanted = None if tensors is None else [int(t) for t in tensors]
        extra = {"reset": reset, "outputs": str(path), "tensors": wanted}
        self._check(self.ask("run", case, runtime, extra), runtime)
        width = case.out if tensors is None else len(tensors)
        with np.load(path, allow_pickle=False) as found:
            rows = [[found[f"{i}_{j}"] for j in range(width)] for i in range(case.rows)]
        path.unlink()
        return rows

    def expect(self, outputs: Sequence[NDArray[Any]]) -> Path:
        """Lay down the outputs that `fits` compares with."""
        import numpy as np

        path = self._path("npz")
        np.savez(path, **cast(Any, {f"0_{j}": values for j, values in enumerate(outputs)}))
        return path

    def fits(self, case: Case, arena_bytes: int, expected: Path) -> bool:
        """Whether the first row of inputs gives its expected outputs in an arena of some size."""
        extra = {"arena": arena_bytes, "expected": str(expected)}
        return not self.ask("fits", case, "tflm", extra).failure

    def allocations(self, case: Case) -> Allocations:
        """What TensorFlow Lite Micro allocates for a model.

        Raises:
            ModelError: if it refuses the model.
        """
        answer = self.ask("allocations", case, "tflm", {})
        self._check(answer, "tflm")
        return parse(answer.talk)

    def ask(self, task: str, case: Case, runtime: Runtime, extra: Mapping[str, Any]) -> Answer:
        """Have the child do one of its tasks.

        Raises:
            MissingExtraError: if TensorFlow Lite Micro is not installed.
            StepError: if the child itself is gone or stuck.
        """
        if runtime == "tflm" and find_spec("tflite_micro") is None:
            raise MissingExtraError("tflite_micro", "mcu")
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in vars(case).items()}
        talk = str(Path(self._folder.name) / "talk")
        job = {"task": task, "runtime": runtime, "seconds": TIMEOUT_S, "talk": talk, **plain}
        return Answer(**self._exchange(json.dumps({**job, **extra})))

    def _exchange(self, line: str) -> Mapping[str, Any]:
        process = self._process
        if process is None:
            raise StepError("a session for running models was not entered")
        asked, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        answer = ""
        try:
            asked.write(line + "\n")
            asked.flush()
            if select.select([answers], [], [], TIMEOUT_S + GRACE_S)[0]:
                answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise StepError("the process that runs models ended or hangs", "run it again")
        found: Mapping[str, Any] = json.loads(answer)
        return found

    def _path(self, suffix: str) -> Path:
        self._count += 1
        return Path(self._folder.name) / f"{self._count}.{suffix}"

    @staticmethod
    def _check(answer: Answer, runtime: Runtime) -> None:
        if answer.failure:
            message = f"{NAMES[runtime]} {answer.failure}"
            raise ModelError(message, "edgepack inspect shows its operators")

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=GRACE_S)


def run(
    model: bytes,
    inputs: Sequence[Sequence[NDArray[Any]]],
    *,
    runtime: Runtime = "tflm",
) -> list[list[NDArray[Any]]]:
    """The stored outputs of a sequence of invocations, in a fresh interpreter and its own process.

    Args:
        model: the flatbuffer.
        inputs: a row of arrays for each invocation, in the graph's order, as the model stores them.
        runtime: where it runs.

    Raises:
        MissingExtraError: if TensorFlow Lite Micro is not installed.
        ModelError: if the runtime refuses the model, crashes or takes too long.
    """
    with Session() as session:
        return session.run(session.load(model, inputs), runtime)


def generous_arena(graph: Graph, model_bytes: int) -> int:
    """Bytes in which a model runs for certain, even with all its tensors kept apart."""
    import math

    tensors = [t for g in (graph, *graph.bodies) for t in g.tensors if not t.is_constant]
    values = sum(8 * math.prod(t.shape) + 1024 for t in tensors)
    wanted = (1 << 22) + 2 * values + model_bytes
    return min(MAX_ARENA_BYTES, wanted // 16 * 16)
