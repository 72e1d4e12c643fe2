"""The delegate of a Coral Edge TPU, and what stands in its way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List

from edgepack.agent.machine import read_text
from edgepack.agent.refusal import RefusedError, one_line

LIBRARY = "libedgetpu.so.1"
KINDS = ("edgetpu-library", "edgetpu-device", "edgetpu-permission", "edgetpu-busy")
USB = "/sys/bus/usb/devices"
USB_NODES = "/dev/bus/usb"
PCIE_NODES = "/dev"
USB_IDS = (("1a6e", "089a"), ("18d1", "9302"))
"""Of the USB Accelerator before and after its firmware is loaded (the rules of libedgetpu)."""


def load(module: Any) -> Any:
    """The delegate.

    Args:
        module: of the runtime; its load_delegate opens the library.

    Raises:
        RefusedError: of one of `KINDS`.
    """
    try:
        return module.load_delegate(LIBRARY)
    except OSError as error:
        raise RefusedError("edgetpu-library", one_line(error)) from error
    except ValueError as error:
        raise fault(one_line(error)) from error


def fault(said: str) -> RefusedError:
    """Why the library gives no delegate; it says the same little whatever the reason is."""
    found = nodes()
    if not found:
        return RefusedError("edgetpu-device", "neither USB nor PCIe shows one")
    closed = [node for node in found if not os.access(node, os.R_OK | os.W_OK)]
    if len(closed) == len(found):
        return RefusedError("edgetpu-permission", "%s cannot be opened" % ", ".join(closed))
    return RefusedError("edgetpu-busy", said or "%s does not answer" % ", ".join(found))


def nodes() -> List[str]:
    """The device files of all Edge TPUs that the kernel sees."""
    found = [str(path) for path in sorted(Path(PCIE_NODES).glob("apex_*"))]
    for device in sorted(Path(USB).glob("*")):
        said = [read_text(str(device / name)).strip() for name in ("idVendor", "idProduct")]
        if tuple(said) in USB_IDS:
            bus, number = (read_text(str(device / n)).strip() for n in ("busnum", "devnum"))
            found.append("%s/%03d/%03d" % (USB_NODES, int(bus), int(number)))
    return found
