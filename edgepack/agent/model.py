"""The model under the agent: its file, and the runtime and delegate that take it."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from typing import Any, Dict

from edgepack.agent import edgetpu
from edgepack.agent.refusal import RefusedError, one_line

RUNTIMES = ("ai_edge_litert", "tflite_runtime")
CHUNK = 1 << 16


class Runtime:
    """The runtime that Python finds first; LiteRT where both are in the same place.

    Attributes:
        name: its distribution.
        version: of it.
        module: what holds its Interpreter.
    """

    def __init__(self) -> None:
        reasons = []
        for package in sorted(RUNTIMES, key=place_on_path):
            try:
                self.module = importlib.import_module(package + ".interpreter")
            except ImportError as error:
                reasons.append(str(error))
                continue
            self.name, self.version = package.replace("_", "-"), version_of(package)
            return
        raise RefusedError("runtime", "; ".join(reasons))

    def open(self, path: str, threads: int = 1, delegate: str = "xnnpack") -> Any:
        """An interpreter that is ready to run.

        Args:
            path: of the model file.
            threads: of the runtime.
            delegate: ``xnnpack`` (what the runtime does by itself), ``none`` or ``edgetpu``.
        """
        options = self.delegate_options(delegate)
        try:
            interpreter = self.module.Interpreter(model_path=path, num_threads=threads, **options)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RefusedError("model", one_line(error)) from error
        return interpreter

    def delegate_options(self, delegate: str) -> Dict[str, Any]:
        """The arguments of the Interpreter that choose a delegate."""
        if delegate == "none":
            resolver = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            return {"experimental_op_resolver_type": resolver}
        if delegate == "edgetpu":
            return {"experimental_delegates": [edgetpu.load(self.module)]}
        return {}


def place_on_path(package: str) -> int:
    """Where on Python's path a package lies: one that was brought along comes before others."""
    holding = [os.path.isdir(os.path.join(folder, package)) for folder in sys.path]
    return holding.index(True) if True in holding else len(holding)


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        return str(importlib.import_module("importlib.metadata").version(package))
    except ImportError:  # Python 3.7, or a package that pip did not install
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def first_run(interpreter: Any) -> None:
    """The first inference, in which a runtime may still refuse the model."""
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise RefusedError("model", one_line(error)) from error


def sha256_of(path: str) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(CHUNK), b""):
                digest.update(block)
    except OSError as error:
        raise RefusedError("file", "%s: %s" % (path, error.strerror)) from error
    return digest.hexdigest()
