"""The model under the agent: the runtime that takes it, and the inputs that it is given."""

from __future__ import annotations

import importlib
import zipfile
from typing import Any, Dict, Optional, Tuple

RUNTIMES = ("ai_edge_litert", "tflite_runtime")
LONGEST_MESSAGE = 160


class RefusedError(Exception):
    """What was refused (``runtime``, ``model`` or ``inputs``), and why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def load_runtime() -> Tuple[str, str, Any]:
    """Package, version and Interpreter class of the first runtime that can be imported."""
    reasons = []
    for package in RUNTIMES:
        try:
            module = importlib.import_module(package + ".interpreter")
        except ImportError as error:
            reasons.append(str(error))
            continue
        return package.replace("_", "-"), version_of(package), module.Interpreter
    raise RefusedError("runtime", "; ".join(reasons))


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:  # Python 3.7
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))
    return str(metadata.version(package))


def open_model(interpreter_class: Any, path: str, threads: int) -> Any:
    """An interpreter that is ready to run."""
    try:
        interpreter = interpreter_class(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError("model", one_line(error)) from error
    return interpreter


def first_run(interpreter: Any) -> None:
    """The first inference, in which a runtime may still refuse the model."""
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise RefusedError("model", one_line(error)) from error


def one_line(error: Exception) -> str:
    """An error's text without line breaks, and not longer than anybody reads."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


def read_golden(path: Optional[str]) -> Optional[Dict[str, Any]]:
    """The first sample of each golden input by the input's name: [1, ...]."""
    import numpy as np

    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {n[len("input.") :]: file[n][:1] for n in file.files if n.startswith("input.")}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RefusedError("inputs", one_line(error)) from error


def set_inputs(interpreter: Any, golden: Optional[Dict[str, Any]]) -> None:
    """Fill the inputs once, outside everything that is timed."""
    details = interpreter.get_input_details()
    for number, detail in enumerate(details):
        if golden is None:
            value = random_input(detail, number)
        else:
            value = golden_input(detail, golden, alone=len(details) == 1)
        interpreter.set_tensor(detail["index"], value)


def golden_input(detail: Dict[str, Any], golden: Dict[str, Any], alone: bool) -> Any:
    """The golden sample of one input as its tensor stores it: by its name, or the only one."""
    import numpy as np

    name = detail["name"]
    value = golden.get(name)
    if value is None and alone and len(golden) == 1:
        value = next(iter(golden.values()))
    if value is None:
        raise RefusedError("inputs", "%s is not among %s" % (name, ", ".join(golden)))
    shape = tuple(int(size) for size in detail["shape"])
    if not shape or value.shape[1:] != shape[1:]:
        raise RefusedError("inputs", "%s is %s, not %s" % (name, value.shape, shape))
    return np.broadcast_to(stored(value, detail), shape)


def stored(value: Any, detail: Dict[str, Any]) -> Any:
    """Real values as a tensor stores them: ``round(value / scale) + zero_point``, clipped."""
    import numpy as np

    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind not in "iu" or not scale:
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(value / scale) + zero_point, limits.min, limits.max).astype(dtype)


def random_input(detail: Dict[str, Any], seed: int) -> Any:
    """Uniform over small integer types, 0 or 1 for those that may be indices, [0, 1) for floats."""
    import numpy as np

    random, dtype = np.random.RandomState(seed), np.dtype(detail["dtype"])
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return random.randint(limits.min, limits.max + 1, detail["shape"]).astype(dtype)
    if dtype.kind in "iub":
        return random.randint(0, 2, detail["shape"]).astype(dtype)
    if dtype.kind in "fc":
        return random.random_sample(detail["shape"]).astype(dtype)
    raise RefusedError("inputs", "%s has the type %s" % (detail["name"], dtype))
