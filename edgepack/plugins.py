"""The folder is the registry: a plug-in is a file, listed by its name, imported when it is used."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from edgepack.errors import EdgepackError, InputError

PACKAGE = Path(__file__).parent


def names(kind: str) -> list[str]:
    """The plug-ins of one kind (``steps``, ``datasets``, ...) by file name, sorted."""
    folder = PACKAGE / kind
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def purpose(kind: str, name: str) -> str:
    """What a plug-in is for, by the first line of its file, which is not imported."""
    with (PACKAGE / kind / f"{name}.py").open(encoding="utf-8") as file:
        line = file.readline().strip().strip('"')
    return line.rpartition("``: ")[2]


def load(kind: str, name: str, error: type[EdgepackError] = InputError) -> ModuleType:
    """Import one plug-in; an unknown name raises ``error`` with the nearest one as its hint."""
    known = names(kind)
    if name not in known:
        thing = kind.removesuffix("s")
        raise error(f"there is no {thing} {name!r}", suggest(name, known))
    return importlib.import_module(f"edgepack.{kind}.{name}")


def class_of(module: ModuleType) -> type[Any]:
    """The class of a plug-in whose file name is its name: ``c_array.py`` holds ``CArray``."""
    stem = module.__name__.rsplit(".", 1)[-1]
    found: type[Any] = getattr(module, "".join(part.capitalize() for part in stem.split("_")))
    return found


def suggest(word: str, known: list[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or all of them."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"


def data_folder(kind: str) -> Path:
    """Where ``targets`` or ``recipes`` lie: inside an installed wheel, else in the checkout."""
    inside = PACKAGE / kind
    return inside if inside.is_dir() else PACKAGE.parent / kind


def data_names(kind: str) -> list[str]:
    """The ``targets`` or ``recipes`` that come with edgepack, sorted."""
    return sorted(path.stem for path in data_folder(kind).glob("*.toml"))


def read_data(kind: str, name: str, error: type[EdgepackError]) -> tuple[str, dict[str, Any]]:
    """The name and the tables of a target or a recipe.

    Args:
        kind: ``targets`` or ``recipes``.
        name: one of `data_names`, or the path of a user's own file, which ends in ``.toml``.
        error: what to raise.

    Raises:
        EdgepackError: of the class ``error``, if it is unknown, unreadable or no TOML.
    """
    import tomllib

    thing, path = kind.removesuffix("s"), Path(name)
    if path.suffix != ".toml":
        known = data_names(kind)
        if name not in known:
            raise error(f"there is no {thing} {name!r}", suggest(name, known))
        path = data_folder(kind) / f"{name}.toml"
    try:
        return path.stem, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        hint = f"give the path of a .toml file, or a name that 'edgepack {kind}' lists"
        raise error(f"the {thing} {path} cannot be read: {fault}", hint) from fault
    except tomllib.TOMLDecodeError as fault:
        hint = "write one setting a line, such as cores = 4; texts stand in quotes"
        raise error(f"the {thing} {path} is not TOML: {fault}", hint) from fault
