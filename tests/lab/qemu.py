"""QEMU: the command line that is a board, and the monitor that reaches behind its back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from lab.boards import BoardModel
from lab.image import Image
from lab.ports import HOST

PROGRAM = "qemu-system-aarch64"
SERIAL = "10000000c0ffee01"
CORES = 4
KERNEL_WORDS = "console=ttyAMA0 loglevel=3 random.trust_cpu=on nokaslr norandmaps panic=-1"
"""Programs always lie at the same addresses, so that QEMU need not translate them each time."""
TRANSLATED_MIB = 512
MONITOR = "monitor"
"""A socket in the board's folder, by a relative name because those of sockets must be short."""
MONITOR_S = 20.0


def machine(model: BoardModel) -> list[str]:
    """The options that the device tree depends on."""
    size = ["-smp", str(CORES), "-m", str(model.memory_mib)]
    return ["-cpu", model.cpu, *size, "-nographic", "-nodefaults"]


def command(model: BoardModel, image: Image, folder: Path, port: int) -> list[str]:
    """The command that runs a board in the folder of its files, with SSH on a port.

    The board reaches nothing but the host that logs in to it.
    """
    words = f"{KERNEL_WORDS} lab.now={int(time.time())}"
    words += f" lab.max_khz={model.max_khz} lab.min_khz={model.min_khz}"
    paced = model.shift is not None
    return [
        *(PROGRAM, "-M", "virt", "-dtb", str(folder / "dtb"), *machine(model)),
        *("-accel", f"tcg,thread={'single' if paced else 'multi'},tb-size={TRANSLATED_MIB}"),
        *(("-icount", f"shift={model.shift},sleep=on") if paced else ()),
        "-no-reboot",
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", words),
        *("-serial", f"file:{folder / 'console'}"),
        *("-qmp", f"unix:{MONITOR},server=on,wait=off"),
        *("-drive", f"if=none,id=disk,file={folder / 'disk.qcow2'},format=qcow2,cache=unsafe"),
        *("-device", "virtio-blk-device,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{port}-:22"),
        *("-device", "virtio-net-device,netdev=net,id=nic", "-device", "virtio-rng-device"),
    ]


def write_device_tree(model: BoardModel, path: Path) -> None:
    """Write QEMU's own device tree with the board's name in it, where tools look for it."""
    dump = [PROGRAM, "-M", f"virt,dumpdtb={path}", *machine(model)]
    subprocess.run(dump, check=True, capture_output=True, timeout=60)
    for name, value in (("model", model.name), ("serial-number", SERIAL)):
        put = ["fdtput", "-t", "s", str(path), "/", name, value]
        subprocess.run(put, check=True, capture_output=True, timeout=60)


def write_disk(image: Image, path: Path) -> None:
    """Make an empty layer over the image's disk: a fresh board writes here."""
    backing = ["-b", str(image.disk), "-F", "raw"]
    create = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path)]
    subprocess.run(create, check=True, capture_output=True, timeout=60)


def monitor(folder: Path, execute: str, **arguments: Any) -> Any:
    """Carry out a command of QEMU's machine protocol and return its answer.

    Raises:
        RuntimeError: if QEMU refuses it.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(MONITOR_S)
        connect(connection, folder)
        lines = connection.makefile("rw", encoding="utf-8")
        lines.readline()
        answer: dict[str, Any] = {}
        for name, values in (("qmp_capabilities", {}), (execute, arguments)):
            lines.write(json.dumps({"execute": name, "arguments": values}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
            while "event" in answer:
                answer = json.loads(lines.readline())
        if "error" in answer:
            raise RuntimeError(f"QEMU refuses {execute}: {answer['error']['desc']}")
        return answer["return"]


def connect(connection: socket.socket, folder: Path) -> None:
    """Connect to the monitor in a folder, however long the folder's name is."""
    number = os.open(folder, os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{number}/{MONITOR}")
    finally:
        os.close(number)
