"""Public facts of a board: read from a TOML file, checked, and nothing assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from edgepack.artifact import FORMS
from edgepack.errors import TargetError
from edgepack.plugins import data_names, read_data, suggest


@dataclass(frozen=True)
class Target:
    """A kind of board that anybody can buy or emulate.

    Attributes:
        id: the file's name, and the word on the command line.
        name: what its maker calls it.
        architecture: of the user land as pip names it: aarch64, armv7l, x86_64, armv7e-m, ...;
            any where it depends on the machine.
        cpu: the core's name; any where it depends on the machine.
        cores: how many of them; 0 where it depends on the machine.
        ram_kib: memory of the board, of the smallest one sold; 0 where it depends on the machine.
        forms: the forms that it can run, such as tflite.
        recipe: what ``edgepack build`` uses where no recipe is named.
        runtimes: the runtimes that it can have, the default first.
        runtime_package: the Python package of the default runtime; empty where only C runs.
        runtime_version: of that package.
        flash_kib: for programs and models; 0 where there is a file system.
        models: what such boards call themselves in their device tree, without the revision.
        attached: how it hangs on another board, such as usb; empty for a board of its own.
        features: what a microcontroller's core has, in the words of `FEATURES`.
        kernels: the library that TensorFlow Lite Micro is built with there, of `KERNELS`; empty
            for other boards.
        accelerator: the neural processor that vela compiles for, such as ethos-u55-128.
        system_config: vela's word for the system around the accelerator.
        memory_mode: vela's word for where weights and activations lie.
        settings: of steps, in words such as ``prune_channels.multiple=8``; they hold where neither
            a recipe nor the user says otherwise.
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
    runtime_package: str = ""
    runtime_version: str = ""
    flash_kib: int = 0
    models: tuple[str, ...] = ()
    attached: str = ""
    features: tuple[str, ...] = ()
    kernels: str = ""
    accelerator: str = ""
    system_config: str = ""
    memory_mode: str = ""
    settings: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


FEATURES = ("fpu", "dsp", "helium")
"""Floating point, packed arithmetic and vectors of a microcontroller's core."""

KERNELS = ("reference", "cmsis-nn", "esp-nn")
"""Libraries of kernels that TensorFlow Lite Micro can be built with."""

PACKAGED = frozenset({"runtime_package", "runtime_version"})
"""Keys that a target must have unless it runs nothing but C."""

UNSOURCED = frozenset({"id", "name", "forms", "recipe", "sources"})
"""Keys that are this project's choice and need no source."""


def target_names() -> list[str]:
    """The targets that come with edgepack, sorted."""
    return data_names("targets")


def read_target(name: str) -> Target:
    """Read a target by its name, or a user's own file by its path, which ends in ``.toml``.

    Raises:
        TargetError: if it is unknown, unreadable, or has a wrong, unknown or missing key.
    """
    return make_target(*read_data("targets", name, TargetError))


def make_target(id: str, facts: dict[str, Any]) -> Target:
    """Check a target's keys, types and values and make it.

    Raises:
        TargetError: if a key is unknown or missing, or a value is of no use.
    """
    known = {f.name: f for f in fields(Target) if f.name != "id"}
    for key, value in facts.items():
        if key not in known:
            raise TargetError(f"target {id}: unknown key {key!r}", suggest(key, list(known)))
        _check_type(id, key, value, str(known[key].type))
    required = {n for n, f in known.items() if f.default is f.default_factory is MISSING}
    if facts.get("forms") != ["c"]:
        required |= PACKAGED
    if missing := sorted(required - facts.keys()):
        raise TargetError(
            f"target {id}: missing {', '.join(missing)}", "a target states each of these facts"
        )
    values: dict[str, Any] = {k: tuple(v) if type(v) is list else v for k, v in facts.items()}
    target = Target(id=id, **values)
    _check_values(target)
    return target


WORD_SIZES = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}
"""What a 32-bit program on a 64-bit kernel is, by the kernel's word."""


def pip_architecture(machine: str, bits: int) -> str:
    """The word in pip's tags for programs of a word size under a kernel.

    A 64-bit Arm kernel under a 32-bit user land calls itself aarch64, and so does
    ``sysconfig.get_platform()``; pip goes by the size of a pointer.

    Args:
        machine: what ``uname -m`` says, or the platform after ``linux-``.
        bits: of a pointer; 0 where that is unknown.
    """
    return WORD_SIZES.get(machine, machine) if bits == 32 or machine == "armv8l" else machine


_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "tuple[str, ...]": (list, "a list of texts"),
    "Mapping[str, str]": (dict, "a table of texts"),
}
"""For each type of a field the type that TOML gives, and what to call it."""


def _check_type(id: str, key: str, value: object, wanted: str) -> None:
    kind, words = _KINDS[wanted]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if type(value) is not kind or not all(isinstance(part, str) for part in parts):
        raise TargetError(f"target {id}: {key} is {value!r}", f"{key} must be {words}")


def _check_values(target: Target) -> None:
    _check_words(target, "forms", target.forms, FORMS)
    _check_words(target, "features", target.features, FEATURES)
    _check_words(target, "kernels", [target.kernels] if target.kernels else [], KERNELS)
    for key in ("forms", "runtimes"):
        if not getattr(target, key):
            raise TargetError(f"target {target.id}: {key} is empty", f"name at least one of {key}")
    for key in ("cores", "ram_kib", "flash_kib"):
        if (value := getattr(target, key)) < 0:
            raise TargetError(f"target {target.id}: {key} is {value}", f"{key} must be 0 or more")
    facts = [f.name for f in fields(Target)]
    for key in target.sources:
        if key not in facts:
            raise TargetError(f"target {target.id}: sources has {key!r}", suggest(key, facts))


def _check_words(target: Target, key: str, words: Sequence[str], known: tuple[str, ...]) -> None:
    for word in words:
        if word not in known:
            message = f"target {target.id}: {key} has {word!r}"
            raise TargetError(message, suggest(word, list(known)))
