"""Python files that the user names, so that they are run: data, metrics, custom layers."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgepack.errors import EdgepackError, InputError
from edgepack.plugins import suggest

IMPORT = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
"""A line that imports a module, by its first name."""


def run_file(path: Path, error: type[EdgepackError] = InputError) -> ModuleType:
    """Run a Python file and return it as a module, which is not left in ``sys.modules``.

    What it prints goes to standard error. It can import the files beside it, after all else.

    Args:
        path: the file.
        error: what to raise.

    Raises:
        EdgepackError: of the class ``error``, if it is missing or fails; the line is named.
    """
    name = f"edgepack_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not path.is_file():
        raise error(f"there is no Python file {path}", "give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _guest(path, error):
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    finally:
        sys.modules.pop(name, None)
    return module


def digest(path: Path) -> str:
    """sha256 over a Python file and all files beside it that it imports, however deep."""
    import hashlib

    found: dict[str, bytes] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file.is_file() and file.name not in found:
            found[file.name] = file.read_bytes()
            names = IMPORT.findall(found[file.name].decode("utf-8", "replace"))
            waiting += [path.parent / f"{name}.py" for name in names]
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def load_function(spec: str, error: type[EdgepackError] = InputError) -> Callable[..., Any]:
    """The function that ``FILE.py:function`` names; what it raises is wrapped with its line.

    Args:
        spec: a path, a colon and a name.
        error: what to raise, now and when the function fails.

    Raises:
        EdgepackError: of the class ``error``, if there is no such file or function.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file or name)
    module = run_file(path, error)
    found = {k: v for k, v in vars(module).items() if callable(v) and not k.startswith("_")}
    if not file:
        raise error(f"{spec} names no function", f"type {path}:{next(iter(found), 'function')}")
    if not hasattr(module, name):
        hint = suggest(name, sorted(found)) if found else ""
        raise error(f"{path} has no function {name!r}", hint)
    function = getattr(module, name)
    if not callable(function):
        raise error(
            f"{name} in {path} is a {type(function).__name__}, not a function", "name a function"
        )

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with _guest(path, error):
            return function(*args, **kwargs)

    return guarded


@contextlib.contextmanager
def _guest(path: Path, error: type[EdgepackError]) -> Iterator[None]:
    """Let the code of a file run: its prints are moved, its exceptions say where they arose."""
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as fault:
        where = _line(path, fault)
        what = f"{type(fault).__name__}: {fault}".rstrip(": ")
        raise error(f"{where} failed: {what}", "run the file by itself to find out more") from fault
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _line(path: Path, fault: BaseException) -> str:
    if isinstance(fault, SyntaxError) and fault.filename == str(path):
        return f"{path}:{fault.lineno}"
    frames = traceback.extract_tb(fault.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
