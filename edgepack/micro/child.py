"""Runs models in forks of its own, because a runtime may die of one.

The program that `edgepack.micro.host` starts. It reads one job a line, as JSON, from standard
input and answers each with a line of JSON; arrays come and go in .npz files of one folder, whose
path is its argument. The runtimes are imported once, before any fork.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Job = Mapping[str, Any]

REFUSED = 3
"""Exit code of a fork whose runtime said no in words."""


def main() -> None:
    """Answer jobs until standard input ends; who asked is gone then, so its files go, too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        job = json.loads(line)
        warm(job["runtime"])
        answers.write(json.dumps(in_fork(job)) + "\n")
        answers.flush()
    shutil.rmtree(sys.argv[1], ignore_errors=True)


def warm(runtime: str) -> None:
    """Import a runtime once, so that no fork has to; what is missing each fork says itself."""
    try:
        if runtime == "tflm":
            import tflite_micro  # noqa: F401
        else:
            import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return


def in_fork(job: Job) -> dict[str, Any]:
    """Do a job in a fork, and tell how that ended: its exit code or signal, and its words."""
    pid = os.fork()
    if pid == 0:
        alone(job)
    _, status = os.waitpid(pid, 0)
    with open(job["talk"], "rb") as file:  # noqa: PTH123
        talk = file.read(1 << 16).decode(errors="replace")
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status), "talk": talk}
    return {"code": os.WEXITSTATUS(status), "talk": talk}


def alone(job: Job) -> None:
    """The whole life of a fork: never returns."""
    code = 1
    try:
        talk = os.open(job["talk"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(talk, 1)
        os.dup2(talk, 2)
        signal.alarm(job["seconds"])  # Its default action ends the fork, wherever it hangs.
        TASKS[job["task"]](job)
        code = 0
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        os.write(2, f"\n{error}\n".encode())
        code = REFUSED
    except Exception:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def run(job: Job) -> None:
    """Invoke a model once for each row of inputs and write its outputs, or chosen tensors."""
    import numpy as np

    interpreter = opened(job)
    with np.load(job["inputs"], allow_pickle=False) as inputs:
        rows = [[inputs[f"{i}_{j}"] for j in range(job["width"])] for i in range(job["rows"])]
    found: dict[str, Any] = {}
    for i, row in enumerate(rows):
        if job["reset"] and i:
            interpreter.reset()
        outputs = interpreter.invoke(row)
        found |= {f"{i}_{j}": np.array(values) for j, values in enumerate(outputs)}
    np.savez(job["outputs"], **found)


def fits(job: Job) -> None:
    """Fail unless a model gives the outputs that a large arena gave."""
    import numpy as np

    interpreter = opened(job)
    with np.load(job["inputs"], allow_pickle=False) as inputs:
        row = [inputs[f"0_{j}"] for j in range(job["width"])]
    outputs = interpreter.invoke(row)
    with np.load(job["expected"], allow_pickle=False) as expected:
        for j, values in enumerate(outputs):
            if not np.array_equal(values, expected[f"0_{j}"]):
                raise ValueError(f"output {j} is wrong in an arena of {job['arena']} bytes")


def allocations(job: Job) -> None:
    """Let TensorFlow Lite Micro say what it allocated, on standard error."""
    opened(job).print_allocations()


TASKS: dict[str, Callable[[Job], None]] = {
    "run": run,
    "fits": fits,
    "allocations": allocations,
}


def opened(job: Job) -> Any:
    """A model in its runtime."""
    with open(job["model"], "rb") as file:  # noqa: PTH123
        model = file.read()
    return Micro(model, job) if job["runtime"] == "tflm" else Lite(model, job)


class Micro:
    """A model in TensorFlow Lite Micro; ``tensors`` of the job are read instead of the outputs."""

    def __init__(self, model: bytes, job: Job) -> None:
        from tflite_micro import runtime

        self.tensors: Sequence[int] | None = job.get("tensors")
        kinds = runtime.InterpreterConfig
        kind = kinds.kAllocationRecording if self.tensors is None else kinds.kPreserveAllTensors
        self.interpreter = runtime.Interpreter.from_bytes(
            model, arena_size=job["arena"], intrepreter_config=kind
        )
        self.count = job["out"]
        self.reset = self.interpreter.reset
        self.print_allocations = self.interpreter.print_allocations

    def invoke(self, row: Sequence[Any]) -> list[Any]:
        """The outputs for one row of inputs, as the model stores them."""
        for index, values in enumerate(row):
            self.interpreter.set_input(values, index)
        self.interpreter.invoke()
        if self.tensors is None:
            return [self.interpreter.get_output(index) for index in range(self.count)]
        return [self.interpreter.GetTensor(index, 0)["tensor_data"] for index in self.tensors]


class Lite:
    """A model in LiteRT, with its reference kernels or as it comes."""

    def __init__(self, model: bytes, job: Job) -> None:
        from ai_edge_litert import interpreter as litert

        kinds = litert.OpResolverType
        kind = kinds.BUILTIN_REF if job["runtime"] == "litert-reference" else kinds.AUTO
        self.interpreter = litert.Interpreter(
            model_content=model, num_threads=1, experimental_op_resolver_type=kind
        )
        self.interpreter.allocate_tensors()
        self.inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self.outputs = [detail["index"] for detail in self.interpreter.get_output_details()]
        self.reset = self.interpreter.reset_all_variables

    def invoke(self, row: Sequence[Any]) -> list[Any]:
        """The outputs for one row of inputs, as the model stores them."""
        for index, values in zip(self.inputs, row, strict=True):
            self.interpreter.set_tensor(index, values)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


if __name__ == "__main__":
    main()
