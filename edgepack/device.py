"""A device: a target that somebody owns, and how to reach it."""

from __future__ import annotations

import struct
import sysconfig
from dataclasses import dataclass

from edgepack.errors import DeviceError, InputError

TARGETS = {
    "linux-x86_64": "linux-x86_64",
    "linux-aarch64": "linux-aarch64",
    "linux-armv7l": "linux-armv7",
    "linux-armv8l": "linux-armv7",
}
"""The target of a machine by Python's platform word."""


@dataclass(frozen=True)
class Device:
    """A target with an address.

    Attributes:
        name: the word on the command line.
        target: the target's name.
        transport: the transport that reaches it.
        address: what the transport connects to; empty for this machine.
    """

    name: str
    target: str
    transport: str
    address: str = ""


def local_device() -> Device:
    """This machine.

    Raises:
        DeviceError: if it is none of the machines that edgepack can measure on.
    """
    return Device("local", target_of(sysconfig.get_platform(), struct.calcsize("P") * 8), "local")


def target_of(platform: str, bits: int) -> str:
    """The target of a machine by ``sysconfig.get_platform()`` and the size of a pointer.

    A 64-bit Arm kernel under a 32-bit user land calls itself aarch64; the pointer tells the truth.
    """
    if platform == "linux-aarch64" and bits == 32:
        platform = "linux-armv7l"
    if platform not in TARGETS:
        raise DeviceError(
            f"cannot measure on this machine: its platform is {platform}",
            f"known are: {', '.join(TARGETS)}",
        )
    return TARGETS[platform]


def find_device(name: str) -> Device:
    """The device of a name.

    Raises:
        InputError: if there is none.
    """
    if name != "local":
        raise InputError(
            f"there is no device {name!r}",
            "known is: local (this machine); devices over SSH are not supported yet",
        )
    return local_device()
