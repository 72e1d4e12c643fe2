"""Public facts of a board: read from a TOML file, checked, and nothing assumed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgepack.errors import TargetError
from edgepack.plugins import data_folder, suggest


@dataclass(frozen=True)
class Target:
    """A kind of board that anybody can buy or emulate.

    Attributes:
        id: the file's name, and the word on the command line.
        name: what its maker calls it.
        architecture: of the user land as pip names it: aarch64, armv7l, x86_64, armv7e-m, ...
        cpu: the core's name.
        cores: how many of them.
        ram_kib: memory that programs can have; 0 where it depends on the machine.
        forms: the forms that it can run, such as tflite.
        recipe: what ``edgepack build`` uses where no recipe is named.
        runtimes: the runtimes that it has, the default first.
        runtime_version: of the default runtime.
        flash_kib: for programs and models; 0 where there is a file system.
        sources: where each fact was read, by its key.
    """

    id: str
    name: str
    architecture: str
    cpu: str
    cores: int
    ram_kib: int
    forms: tuple[str, ...]
    recipe: str
    runtimes: tuple[str, ...]
    runtime_version: str
    flash_kib: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)


UNSOURCED = frozenset({"id", "name", "forms", "recipe", "sources"})
"""Keys that are this project's choice and need no source."""


def target_names() -> list[str]:
    """The targets that come with edgepack, sorted."""
    return sorted(path.stem for path in data_folder("targets").glob("*.toml"))


def read_target(name: str) -> Target:
    """Read a target by its name, or a user's own file by its path.

    Raises:
        TargetError: if it is unknown, unreadable, or has a wrong, unknown or missing key.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in target_names():
            raise TargetError(f"there is no target {name!r}", suggest(name, target_names()))
        path = data_folder("targets") / f"{name}.toml"
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"the target {path} cannot be read: {error}") from error
    return make_target(path.stem, facts)


def make_target(id: str, facts: dict[str, Any]) -> Target:
    """Check a target's keys and types and make it."""
    known = {f.name: f for f in fields(Target) if f.name != "id"}
    for key, value in facts.items():
        if key not in known:
            raise TargetError(f"target {id}: unknown key {key!r}", suggest(key, list(known)))
        check_type(id, key, value, str(known[key].type))
    required = {n for n, f in known.items() if f.default is f.default_factory is MISSING}
    if missing := sorted(required - facts.keys()):
        raise TargetError(f"target {id}: missing {', '.join(missing)}")
    return Target(id=id, **{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()})


def check_type(id: str, key: str, value: object, wanted: str) -> None:
    """Refuse a value that is not of the field's type."""
    kinds = {"str": str, "int": int, "tuple[str, ...]": list, "Mapping[str, str]": dict}
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if type(value) is not kinds[wanted] or any(not isinstance(part, str) for part in parts):
        raise TargetError(f"target {id}: {key} is {value!r}, which is no {wanted}")
