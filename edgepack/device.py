"""A device: a board that somebody owns, and how to reach it."""

from __future__ import annotations

import os
import struct
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.errors import DeviceError, InputError
from edgepack.plugins import data_names, names, suggest
from edgepack.ssh.address import parse_address
from edgepack.ssh.config import aliases, is_alias
from edgepack.target import pip_architecture

FILE = "devices.toml"
FOLDER = ".edgepack"

TARGETS = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64", "armv7l": "linux-armv7"}
"""The target of a Linux machine by its architecture as pip's tags name it."""


@dataclass(frozen=True)
class Device:
    """What a name on the command line stands for.

    Attributes:
        name: the word on the command line.
        target: the target's name; empty where it is not known before the device was probed.
        transport: the transport that reaches it.
        address: what the transport connects to; empty for this machine.
        folder: where edgepack's files live on the device, relative to the home folder there.
        lock: the file that is locked there while somebody measures; empty for the one of all users
            of the board, so that no two disturb each other.
    """

    name: str
    target: str = ""
    transport: str = "ssh"
    address: str = ""
    folder: str = FOLDER
    lock: str = ""


def local_device() -> Device:
    """This machine.

    Raises:
        DeviceError: if it is none of the machines that edgepack can measure on.
    """
    return Device("local", target_of(sysconfig.get_platform(), struct.calcsize("P") * 8), "local")


def target_of(platform: str, bits: int) -> str:
    """The target of a machine by ``sysconfig.get_platform()`` and the size of a pointer."""
    system, _, machine = platform.partition("-")
    architecture = pip_architecture(machine, bits)
    if system != "linux" or architecture not in TARGETS:
        raise DeviceError(
            f"cannot measure on this machine: its platform is {platform}, {bits} bits",
            f"known is Linux on {', '.join(TARGETS)}",
        )
    return TARGETS[architecture]


def find_device(name: str) -> Device:
    """The device of a name: ``local``, a name of a ``devices.toml``, ``user@host[:port]``, or an
    alias of the user's SSH configuration.

    Raises:
        InputError: if there is none, or a ``devices.toml`` is wrong.
    """
    if name == "local":
        return local_device()
    if name in (listed := listed_devices()):
        return listed[name]
    if "@" in name:
        parse_address(name)
        return Device(name, address=name)
    if is_alias(name):
        return Device(name, address=name)
    hint = suggest(name, ["local", *listed, *aliases()])
    raise InputError(f"there is no device {name!r}", f"{hint}; or write user@host, user@host:port")


def all_devices() -> list[Device]:
    """The devices of the project's and the user's ``devices.toml``.

    Raises:
        InputError: if there are none, or a file is wrong.
    """
    listed = listed_devices()
    if not listed:
        places = " and ".join(str(path) for path in device_files())
        raise InputError(
            f"no device is listed in {places}",
            f'list one in {FILE}: [NAME] on a line, address = "user@host" below it',
        )
    return list(listed.values())


def device_files() -> tuple[Path, Path]:
    """The project's ``devices.toml`` in the current folder, and the user's, which yields to it."""
    named = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    home = named if named.is_absolute() else Path.home() / ".config"
    return Path.cwd() / FILE, home / "edgepack" / FILE


def listed_devices() -> dict[str, Device]:
    """The devices of both files by name.

    Raises:
        InputError: if a file cannot be read, or a key or a value is wrong.
    """
    found: dict[str, Device] = {}
    for path in device_files():
        for name, facts in _read(path).items():
            found.setdefault(name, _make(path, name, facts))
    return found


def check_folder(folder: str) -> None:
    """Refuse a folder for edgepack's files that holds, or may hold, anything else.

    Raises:
        InputError: if it is empty, the root, the home folder, or goes upwards.
    """
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    upwards = ".." in parts or folder.startswith(("~", "-"))
    if not parts or upwards or any(not c.isprintable() for c in folder):
        raise InputError(
            f"{folder!r} cannot be edgepack's folder on a device",
            f"name a folder of its own, such as {FOLDER} in the home folder, or leave it out",
        )


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "make it readable") from error
    except tomllib.TOMLDecodeError as error:
        hint = 'write [NAME] on a line, and address = "user@host" below it'
        raise InputError(f"{path} is not TOML: {error}", hint) from error


def _make(path: Path, name: str, facts: Any) -> Device:
    where = f"device {name} in {path}"
    keys = ("address", "target", "transport", "folder", "lock")
    if not isinstance(facts, dict):
        raise InputError(f"{path}: {name} is no device", f"write [{name}] on a line of its own")
    for key, value in facts.items():
        if key not in keys:
            raise InputError(f"{where}: unknown key {key!r}", suggest(key, list(keys)))
        if not isinstance(value, str):
            raise InputError(f"{where}: {key} is {value!r}", f"{key} must be text in quotes")
    if name in ("local", "all"):
        raise InputError(f"{where}: the name {name!r} is taken", "give it another name")
    device = Device(name, **facts)
    _check(where, device)
    return device


def _check(where: str, device: Device) -> None:
    if device.transport not in (known := names("transports")):
        raise InputError(
            f"{where}: no transport {device.transport!r}", suggest(device.transport, known)
        )
    if device.target and device.target not in (known := data_names("targets")):
        raise InputError(f"{where}: no target {device.target!r}", suggest(device.target, known))
    try:
        check_folder(device.folder)
        if device.transport == "ssh":
            parse_address(device.address)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.hint) from error
